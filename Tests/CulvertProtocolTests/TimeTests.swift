import Testing

@testable import CulvertProtocol

/// Pings, the round trip, and the silence of a peer.
@Suite struct TimeTests {
    private let keepalive = SessionConfiguration(role: .dialler, name: "").keepalive

    private func pings(_ frames: [Frame]) -> [UInt64] {
        frames.compactMap { if case .ping(let value) = $0 { value } else { nil } }
    }

    @Test(arguments: bothRoles)
    func pingsGoOutAtAThirdOfTheKeepalive(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        peer.pass(0)
        #expect(pings(peer.said()).count == 1)
        #expect(peer.session.deadline == peer.now + keepalive / 3)
        peer.pass(keepalive / 3 - 1)
        #expect(pings(peer.said()).isEmpty)
        peer.pass(1)
        #expect(pings(peer.said()).count == 1)
    }

    @Test func theRoundTripIsMeasured() throws {
        let peer = try ScriptedPeer()
        peer.pass(0)
        let first = try #require(pings(peer.said()).first)
        peer.now += 3_000_000
        try peer.hear(.pong(first))
        #expect(peer.session.roundTrip == 3_000_000 && peer.session.leastRoundTrip == 3_000_000)
        peer.pass(keepalive)
        let second = try #require(pings(peer.said()).first)
        peer.now += 5_000_000
        try peer.hear(.pong(second))
        #expect(peer.session.roundTrip == 5_000_000 && peer.session.leastRoundTrip == 3_000_000)
    }

    /// A round trip that the peer makes up would open windows, or keep them shut.
    @Test func onlyTheAnswerToAPingIsMeasured() throws {
        let peer = try ScriptedPeer()
        peer.pass(0)
        let value = try #require(pings(peer.said()).first)
        peer.now += 1_000_000
        try peer.hear(.pong(0), .pong(.max), .pong(value - 1), .pong(value + 1))
        #expect(peer.session.roundTrip == nil)
        try peer.hear(.pong(value))
        peer.now += 1_000_000
        try peer.hear(.pong(value))
        #expect(peer.session.roundTrip == 1_000_000)
    }

    @Test func aPingIsAnsweredWithItsValue() throws {
        let peer = try ScriptedPeer()
        try peer.hear(.ping(0x0123_4567_89AB_CDEF))
        #expect(peer.said() == [.pong(0x0123_4567_89AB_CDEF)])
    }

    @Test func silenceIsToldOnceAndDoesNotSpin() throws {
        let peer = try ScriptedPeer()
        peer.pass(keepalive - 1)
        #expect(peer.events().isEmpty)
        peer.pass(1)
        #expect(peer.events() == ["silent 0"])
        _ = peer.said()
        #expect(peer.session.deadline > peer.now)
        peer.pass(keepalive)
        #expect(peer.events().isEmpty)
    }

    @Test func silenceIsToldAgainAfterSomethingArrived() throws {
        let peer = try ScriptedPeer()
        peer.pass(keepalive)
        try peer.hear(.ping(0))
        peer.pass(keepalive)
        #expect(peer.events() == ["silent 0", "silent 0"])
    }

    @Test func anythingThatArrivesBreaksTheSilence() throws {
        let peer = try ScriptedPeer()
        let bytes = Frame.ping(1).bytes
        for byte in bytes {
            peer.pass(keepalive - 1)
            try peer.hear(bytes: [byte])
        }
        #expect(peer.events().isEmpty)
    }

    @Test func aPeerThatNeverSaysHelloIsSilentToo() throws {
        let peer = try ScriptedPeer(established: false)
        #expect(peer.session.deadline <= peer.now + keepalive)
        peer.pass(keepalive)
        #expect(peer.events() == ["silent 0"])
        #expect(pings(peer.said()).isEmpty)
    }

    @Test func idleSessionsOfTwoRelaysKeepEachOtherAwake() {
        let pair = SessionPair(weather: Weather(latency: 40_000_000))
        var silent = 0
        for end in pair.ends { end.onEvent = { if case .silent = $0 { silent += 1 } } }
        pair.establish()
        pair.run(for: 4 * keepalive)
        #expect(silent == 0)
        for end in pair.ends {
            #expect(end.session.roundTrip == 80_000_000)
            #expect(end.transmitted < 1000)
        }
    }
}
