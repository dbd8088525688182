import Testing

@testable import CulvertCompression

@Suite struct CompressionPolicyTests {
    /// A sender with one processor and a link behind it. Nanoseconds a byte, and what is left of a byte.
    struct Road {
        var link: Double
        var packing: Double
        var ratio: Double
        var sending = 0.3
        private var now = 0.0
        /// When the link will have sent what it was given; what it and the processor have waited for each other.
        private var linkEnd = 0.0, linkIdle = 0.0, idle = 0.0
        private var seen = (now: 0.0, linkIdle: 0.0, idle: 0.0)
        private(set) var packed = 0

        init(link: Double, packing: Double, ratio: Double) {
            self.link = link
            self.packing = packing
            self.ratio = ratio
        }

        /// Sends blocks of 64 KiB; what waits for the link is bounded, as by a socket.
        /// - Returns: the time it took.
        mutating func carry(blocks: Int, with policy: inout CompressionPolicy) -> Double {
            let block = 65_536.0, start = now
            packed = 0
            for _ in 0..<blocks {
                var bytes = block
                if policy.wants() {
                    packed += 1
                    if ratio < 1 { bytes *= ratio }
                    now += block * packing
                    policy.tried(plain: 65_536, packed: ratio < 1 ? Int(bytes) : nil, nanoseconds: UInt64(block * packing))
                }
                now += bytes * sending
                policy.sent(bytes: UInt64(bytes), nanoseconds: UInt64(bytes * sending))
                linkIdle += max(0, now - linkEnd)
                linkEnd = max(now, linkEnd) + bytes * link
                let room = linkEnd - 4 * block * link
                idle += max(0, room - now)
                now = max(now, room)
                guard now - seen.now > 20e6 else { continue }
                let interval = now - seen.now
                policy.learn(
                    from: UInt64(interval), idle: UInt64(idle - seen.idle),
                    linkBusy: UInt64(max(0, interval - (linkIdle - seen.linkIdle))))
                seen = (now, linkIdle, idle)
            }
            return now - start
        }
    }

    /// How long each way takes, the first `warmUp` blocks not counted.
    private func times(_ road: Road, warmUp: Int = 4000) -> [CompressionMode: Double] {
        var times: [CompressionMode: Double] = [:]
        for mode in CompressionMode.allCases {
            var road = road, policy = CompressionPolicy(mode)
            _ = road.carry(blocks: warmUp, with: &policy)
            times[mode] = road.carry(blocks: 20_000, with: &policy)
        }
        return times
    }

    /// From 100 Mb/s to a link that nobody fills, with text, with a guest's pages, with zeros, and with what hardly shrinks or
    /// does not at all. The costs are LZ4's on the machine of bench/results.
    @Test(
        arguments: [80, 8, 3.2, 1.6, 0.8, 0.32, 0.08, 0.008],
        [(packing: 1.4, ratio: 0.53), (0.9, 0.37), (0.1, 0.01), (1.4, 0.93), (0.3, 1)])
    func autoCostsLittleAgainstTheBetterWay(link: Double, data: (packing: Double, ratio: Double)) {
        let time = times(Road(link: link, packing: data.packing, ratio: data.ratio))
        #expect(time[.auto]! < 1.05 * min(time[.none]!, time[.lz4]!), "\(time)")
    }

    /// Neither way fills both the link and the processor there.
    @Test func autoIsBetterThanEitherWhereBothAreBounds() {
        let time = times(Road(link: 1.6, packing: 1.4, ratio: 0.53))
        #expect(time[.auto]! < 0.9 * min(time[.none]!, time[.lz4]!), "\(time)")
    }

    /// What only acknowledges sends little at a time, each at the price of a system call.
    @Test func acknowledgementsAreNoMeasureOfWhatBytesCost() {
        var road = Road(link: 0.08, packing: 1.4, ratio: 0.53), policy = CompressionPolicy(.auto)
        for _ in 0..<100_000 { policy.sent(bytes: 90, nanoseconds: 8000) }
        _ = road.carry(blocks: 4000, with: &policy)
        _ = road.carry(blocks: 10_000, with: &policy)
        #expect(road.packed < 100)
    }

    /// A source that never fills a fast link.
    @Test func nothingIsCompressedForALinkThatIsSeldomBusy() {
        var policy = CompressionPolicy(.auto)
        for _ in 0..<50 {
            if policy.wants() { policy.tried(plain: 65_536, packed: 30_000, nanoseconds: 90_000) }
            policy.learn(from: 20_000_000, idle: 15_000_000, linkBusy: 4_000_000)
        }
        var tries = 0
        for _ in 0..<255 where policy.wants() {
            policy.tried(plain: 65_536, packed: 30_000, nanoseconds: 90_000)
            tries += 1
        }
        #expect(tries <= 1)
    }

    @Test func autoFollowsALinkAndDataThatChange() {
        var road = Road(link: 8, packing: 1.4, ratio: 0.53), policy = CompressionPolicy(.auto)
        func share() -> Double {
            _ = road.carry(blocks: 20_000, with: &policy)
            return Double(road.packed) / 20_000
        }
        #expect(share() > 0.95)
        road.link = 0.08
        #expect(share() < 0.15)
        road.packing = 0.1
        road.ratio = 0.01
        #expect(share() > 0.95)
        road.packing = 1.4
        road.ratio = 0.53
        #expect(share() < 0.15)
        road.link = 8
        #expect(share() > 0.95)
    }

    @Test func whatDoesNotShrinkIsSeldomTried() {
        for mode in [CompressionMode.lz4, .auto] {
            var policy = CompressionPolicy(mode), tries = 0
            for _ in 0..<10_000 where policy.wants() {
                policy.tried(plain: 65_536, packed: nil, nanoseconds: 1000)
                tries += 1
            }
            #expect(tries > 100 && tries < 700, "\(mode): \(tries)")
        }
    }

    @Test func whatShrinksAgainIsCompressedAgain() {
        var policy = CompressionPolicy(.lz4)
        for _ in 0..<1000 where policy.wants() { policy.tried(plain: 1, packed: nil, nanoseconds: 1) }
        var tries = 0
        for _ in 0..<100 where policy.wants() {
            policy.tried(plain: 2, packed: 1, nanoseconds: 1)
            tries += 1
        }
        #expect(tries > 60)
    }

    @Test func noneNeverTries() {
        var policy = CompressionPolicy(.none)
        let wants = policy.wants()
        #expect(!wants)
    }
}
