import Testing

@testable import CulvertProtocol

/// A session outlives its lanes: whatever is lost on the way is sent again, once.
@Suite struct ResumeTests {
    /// As the integrity test, while connections are lost in the middle of frames, noticed by both sides, one, or none.
    @Test(arguments: Seeds.list(12))
    func everyByteArrivesOnceThoughLanesAreLost(seed: UInt64) {
        var random = Seeded(seed)
        var weather = Weather.random(using: &random)
        if weather.cut == .crumbs { weather.cut = .pieces }
        let pair = SessionPair(seed: seed, weather: weather, budget: random.chance(25) ? 8 << 20 : 1 << 30) {
            $0.streamWindow = [64 << 10, 300_000, 8 << 20][Int(seed % 3)]
            $0.keepalive = 1_000_000_000
        }
        let storm = Storm(pair, lanes: [1, 1, 2, 4][random.below(4)], fury: [50, 100, 300][random.below(3)])
        let traffic = Traffic(pair, streams: 80)
        traffic.run { storm.isOver = true }
        traffic.check()
        #expect(storm.losses > 0, "seed \(seed)")
    }

    @Test(arguments: bothRoles)
    func whatIsNotAcknowledgedIsSentAgain(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        let stream = peer.open(first: [1, 2])
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: peer.ownID(0), received: 1, credit: 1 << 20)))
        peer.write(stream, [3])
        peer.session.finish(stream, now: peer.now)
        #expect(peer.said() == [.data(peer.ownID(0), at: 2, [3], fin: true)])
        peer.session.lose(peer.lane, now: peer.now)
        #expect(peer.session.isDetached)
        let lane = try peer.rejoin()
        #expect(!peer.session.isDetached && peer.events().contains("joined 1"))
        let said = peer.said(on: lane)
        #expect(said.contains(.data(peer.ownID(0), at: 1, [2, 3], fin: true)))
        #expect(said.contains(.ack(Ack(stream: peer.ownID(0), received: 0, credit: 512 << 10))))
    }

    /// The peer takes an id that it does not know only in order, so OPENs come first, also of streams that are over.
    @Test func openingsAreRepeatedInOrder() throws {
        let peer = try ScriptedPeer()
        let first = peer.open("a", first: [1])
        _ = peer.open("b", first: [2])
        _ = peer.said()
        peer.session.reset(first, ResetReason(.localClosed, "gone"), now: peer.now)
        _ = peer.said()
        peer.session.lose(peer.lane, now: peer.now)
        _ = peer.open("c", first: [3])
        let lane = try peer.rejoin()
        let said = peer.said(on: lane)
        let opened = said.compactMap { if case .open(let open, _, _) = $0 { open.service } else { nil } }
        #expect(opened == ["a", "b", "c"])
        let reset = said.firstIndex { if case .reset(let reset) = $0 { reset.stream == 1 } else { false } }
        let open = said.firstIndex { if case .open(let open, _, _) = $0 { open.service == "a" } else { false } }
        #expect(try #require(open) < #require(reset))
        #expect(said.contains(.data(3, at: 0, [2])))
    }

    /// Once the peer has spoken of a stream it knows all that were opened before.
    @Test func openingsThatThePeerKnowsAreNotRepeated() throws {
        let peer = try ScriptedPeer()
        for service in ["a", "b"] { _ = peer.open(service) }
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 3, received: 1, credit: 1 << 20)))
        peer.session.lose(peer.lane, now: peer.now)
        let lane = try peer.rejoin()
        #expect(!peer.said(on: lane).contains { if case .open = $0 { true } else { false } })
    }

    @Test func resetsAreRepeatedUntilAcknowledged() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen()
        let reason = ResetReason(.localClosed, errno: 104, "gone")
        peer.session.reset(try #require(peer.session.table[2]), reason, now: peer.now)
        _ = peer.said()
        peer.session.lose(peer.lane, now: peer.now)
        var lane = try peer.rejoin()
        #expect(peer.said(on: lane).contains(.reset(Reset(stream: 2, finalOffset: 0, reason: reason))))
        try peer.hear(.ack(Ack(stream: 2, received: 0, credit: 0, reset: true)), on: lane)
        peer.session.lose(lane, now: peer.now)
        lane = try peer.rejoin()
        #expect(!peer.said(on: lane).contains(.reset(Reset(stream: 2, finalOffset: 0, reason: reason))))
    }

    /// The ACK that ended the stream here went down with the lane; the peer asks again, and must not wait for ever.
    @Test func theEndOfAStreamThatIsOverIsAcknowledgedAgain() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [1], fin: true)
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 2, received: 0, credit: 0, fin: true)))
        #expect(stream.isGone)
        peer.session.lose(peer.lane, now: peer.now)
        let lane = try peer.rejoin()
        _ = peer.said(on: lane)
        try peer.hear(.data(2, at: 0, [1], fin: true), on: lane)
        #expect(peer.said(on: lane) == [.ack(Ack(stream: 2, received: 1, credit: 1, fin: true))])
    }

    /// The peer had lost that lane before this side did, asked again on another, and waits: nothing would make it ask once more.
    @Test func theLastWordOnAStreamIsRepeatedWhenItsLaneIsLost() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [1], fin: true)
        peer.session.finish(stream, now: peer.now)
        let other = try peer.rejoin()
        func isLast(_ frame: Frame) -> Bool { if case .ack(let ack) = frame { ack.stream == 2 && ack.fin } else { false } }
        #expect(peer.said().contains(where: isLast))
        try peer.hear(.ack(Ack(stream: 2, received: 0, credit: 0, fin: true)), on: other)
        #expect(stream.isGone)
        peer.session.lose(peer.lane, now: peer.now)
        #expect(peer.said(on: other).contains(where: isLast))
    }

    /// A later ping that is answered shows that the last word has arrived.
    @Test func aLastWordThatHasArrivedIsForgotten() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [1], fin: true)
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        #expect(peer.lane.lastWords.count == 1)
        peer.pass(10_000_000_000)
        for case .ping(let value) in peer.said() { try peer.hear(.pong(value)) }
        #expect(peer.lane.lastWords.isEmpty)
    }

    @Test func aSessionWithoutALaneIsGivenUp() throws {
        let peer = try ScriptedPeer()
        peer.session.lose(peer.lane, now: peer.now)
        peer.pass(59_999_000_000)
        #expect(peer.events().isEmpty)
        #expect(peer.session.deadline == peer.now + 1_000_000)
        peer.pass(1_000_000)
        #expect(peer.events() == ["expired"])
        peer.pass(100_000_000_000)
        #expect(peer.events().isEmpty)
    }

    @Test func aFarewellIsRepeated() throws {
        let peer = try ScriptedPeer()
        peer.session.goaway(.draining, "bye")
        _ = peer.said()
        peer.session.lose(peer.lane, now: peer.now)
        let lane = try peer.rejoin()
        #expect(peer.said(on: lane).contains(.goaway(Goaway(code: .draining, lastStream: 0, text: "bye"))))
    }

    /// The peer would take it for the last word, with streams to come.
    @Test func aFarewellStaysBehindRepeatedOpens() throws {
        let peer = try ScriptedPeer()
        for service in ["a", "b"] { _ = peer.open(service) }
        peer.session.goaway(.superseded, "bye")
        _ = peer.said()
        peer.session.lose(peer.lane, now: peer.now)
        let lane = try peer.rejoin()
        let said = peer.said(on: lane).compactMap { frame -> String? in
            switch frame {
            case .open(let open, _, _): open.service
            case .goaway(let goaway): goaway.text
            default: nil
            }
        }
        #expect(said == ["a", "b", "bye"])
        #expect(!peer.session.wantsToTransmit)
    }

    // MARK: Who may join

    @Test func onlyWhoKnowsTheSecretJoins() throws {
        for wrong in ["secret", "session", "lane 0"] {
            let peer = try ScriptedPeer(.listener)
            var hello = peer.hello()
            hello.lane = 1
            switch wrong {
            case "secret": hello.secret.low ^= 1
            case "session": hello.session.high ^= 1
            default: hello.lane = 0
            }
            let lane = peer.session.addLane(now: peer.now)
            let fault = violation { try peer.hear(.hello(hello), on: lane) }
            #expect(fault?.code == .unknownSession, "\(wrong)")
            #expect(!lane.isGreeted)
            peer.session.lose(lane, now: peer.now)
            // The others go on.
            try peer.hearOpen(first: [1])
            #expect(!peer.session.isDetached && peer.taken[1] == [1])
        }
    }

    @Test func aLaneThatIsThereIsNotMadeAgain() throws {
        let peer = try ScriptedPeer(.listener)
        _ = try peer.rejoin(1)
        let fault = violation { _ = try peer.rejoin(1) }
        #expect(fault?.description == "lane 1 is there already")
    }

    /// Lanes are counted, so one that this lane replaces has a lower number.
    @Test(arguments: [(1, 7), (1, 2), (0, 1)] as [(UInt32, UInt32)])
    func aLaneThatWasNeverMadeHasNoPlaceToTake(number: UInt32, replaces: UInt32) throws {
        let peer = try ScriptedPeer(.listener, established: number != 0)
        let lane = number == 0 ? peer.lane : peer.session.addLane(now: peer.now)
        var hello = peer.hello()
        (hello.lane, hello.replaces) = (number, replaces)
        let fault = violation { try peer.hear(.hello(hello), on: lane) }
        #expect(fault?.description == "lane \(number) replaces lane \(replaces), which was never made")
        #expect(!lane.isGreeted)
    }

    /// The listener never heard of one that was lost on its way.
    @Test func aLaneCanTakeThePlaceOfOneThatNeverArrived() throws {
        let peer = try ScriptedPeer(.listener)
        var hello = peer.hello()
        (hello.lane, hello.replaces) = (5, 4)
        try peer.hear(.hello(hello), on: peer.session.addLane(now: peer.now))
        #expect(peer.events() == ["joined 5"])
    }

    @Test func aLaneCanTakeThePlaceOfAnother() throws {
        let peer = try ScriptedPeer(.listener)
        var hello = peer.hello()
        (hello.lane, hello.replaces) = (5, 0)
        let lane = peer.session.addLane(now: peer.now)
        try peer.hear(.hello(hello), on: lane)
        #expect(peer.events() == ["replaced 0", "joined 5"])
        #expect(peer.session.lanes.map(\.number) == [5])
    }
}
