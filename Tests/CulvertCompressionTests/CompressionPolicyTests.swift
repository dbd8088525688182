import Testing

@testable import CulvertCompression

@Suite struct CompressionPolicyTests {
    /// Sends blocks of 64 KiB over a path on which a compressed one takes `packed` and a plain one `plain` nanoseconds.
    /// - Returns: the time it took against the better of always and never.
    private func run(_ mode: CompressionMode, packed: UInt64, plain: UInt64, blocks: Int = 100_000) -> Double {
        var policy = CompressionPolicy(mode), now: UInt64 = 1_000_000_000
        for _ in 0..<blocks {
            let compresses = policy.wants(65_536, now: now)
            if compresses { policy.note(shrank: true) }
            now += compresses ? packed : plain
        }
        return Double(now - 1_000_000_000) / Double(UInt64(blocks) * min(packed, plain))
    }

    /// 1 Gb/s with data that halves, 10 Gb/s where the processor is the bound, and what hardly differs.
    @Test(arguments: [(262_000, 524_000), (160_000, 70_000), (100_000, 100_500), (524_000, 262_000), (30_000, 3_000_000)])
    func autoCostsLittleAgainstTheBetterWay(packed: UInt64, plain: UInt64) {
        #expect(run(.auto, packed: packed, plain: plain) < 1.05)
    }

    @Test func autoFollowsAPathThatChanges() {
        var policy = CompressionPolicy(.auto), now: UInt64 = 0
        func share(_ packed: UInt64, _ plain: UInt64) -> Double {
            var compressed = 0
            for _ in 0..<100_000 {
                let compresses = policy.wants(65_536, now: now)
                if compresses {
                    policy.note(shrank: true)
                    compressed += 1
                }
                now += compresses ? packed : plain
            }
            return Double(compressed) / 100_000
        }
        #expect(share(100_000, 400_000) > 0.9)
        #expect(share(400_000, 100_000) < 0.1)
        #expect(share(100_000, 400_000) > 0.9)
    }

    @Test func whatDoesNotShrinkIsSeldomTried() {
        for mode in [CompressionMode.lz4, .auto] {
            var policy = CompressionPolicy(mode), tries = 0
            for block in 0..<10_000 where policy.wants(65_536, now: UInt64(block) * 100_000) {
                policy.note(shrank: false)
                tries += 1
            }
            #expect(tries > 100 && tries < 700, "\(mode): \(tries)")
        }
    }

    @Test func whatShrinksAgainIsCompressedAgain() {
        var policy = CompressionPolicy(.lz4)
        for _ in 0..<1000 where policy.wants(1, now: 0) { policy.note(shrank: false) }
        var tries = 0
        for _ in 0..<100 where policy.wants(1, now: 0) {
            policy.note(shrank: true)
            tries += 1
        }
        #expect(tries > 60)
    }

    @Test func noneNeverTries() {
        var policy = CompressionPolicy(.none)
        let wants = policy.wants(65_536, now: 0)
        #expect(!wants)
    }
}
