import Testing

@testable import CulvertBench

@Suite struct AllowanceTests {
    /// One stage costs 0.1, relays 0.5 each: sender 0.1, near 0.5, far 0.5, receiver 0.1; 1.2 s of CPU time a GB.
    private let limits = HostLimits(
        copy: 0.05, framing: .init(send: 0.03, receive: 0.04), unix: .init(send: 0.1, receive: 0.1, megabytesPerSecond: 8000),
        tcp: .init(send: 0.1, receive: 0.1, megabytesPerSecond: 8000),
        ciphers: [.init(sealer: "OpenSSL", cipher: .aes256, seal: 0.3, open: 0.3)])

    private func allowance(cores: Int, lanes: Int = 1, streams: Int = 1, isLocal: Bool = true) throws -> Allowance {
        try #require(Allowance(limits, cores: cores, .init(lanes: lanes, streams: streams), isLocal: isLocal))
    }

    private func isClose(_ value: Double, _ expected: Double) -> Bool { abs(value - expected) < 1e-6 }

    @Test func fewCoresAreSharedByEveryStage() throws {
        let two = try allowance(cores: 2)
        #expect(isClose(two.megabytesPerSecond, 2 / 1.2 * 1000))
        #expect(two.bound == "all 2 cores")
        #expect(try allowance(cores: 1).bound == "the one core")
    }

    @Test func aLaneHasOneCoreOfEachRelay() throws {
        let many = try allowance(cores: 32)
        #expect(isClose(many.megabytesPerSecond, 2000))
        #expect(many.bound == "one core for the sending relay")
    }

    @Test func moreLanesAndStreamsUseMoreCores() throws {
        #expect(isClose(try allowance(cores: 32, lanes: 4, streams: 4).megabytesPerSecond, 8000))
        // Now the ends, one thread each, are what bounds it.
        let oneStream = try allowance(cores: 32, lanes: 8)
        #expect(isClose(oneStream.megabytesPerSecond, 10_000))
        #expect(oneStream.bound == "one core for the sender")
    }

    @Test func compressionCostsWhatTheBytesMakeItCost() {
        #expect(Allowance(limits, cores: 2, .init(compression: .lz4), isLocal: true) == nil)
    }

    @Test func withAPeerOnlyTheNearHalfWorksHere() throws {
        #expect(isClose(try allowance(cores: 1, isLocal: false).megabytesPerSecond, 1 / 0.6 * 1000))
    }

    @Test func anUnmeasuredCipherAllowsNothingToBeSaid() {
        #expect(Allowance(limits, cores: 2, .init(backend: .gnutls), isLocal: true) == nil)
    }
}
