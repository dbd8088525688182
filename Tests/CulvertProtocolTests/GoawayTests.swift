import Testing

@testable import CulvertProtocol

/// Draining and the ends of sessions.
@Suite struct GoawayTests {
    private func opening(_ id: UInt64) -> Frame { .open(Open(stream: id, credit: 9, priority: .auto, service: "s")) }

    @Test(arguments: bothRoles)
    func aDrainNamesTheLastStreamItTookAndRefusesLaterOnes(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        try peer.hearOpen(0)
        try peer.hearOpen(1)
        peer.session.goaway(.draining, "stopping")
        try peer.hear(opening(peer.peerID(2)))
        let said = peer.said()
        #expect(said.first == .goaway(Goaway(code: .draining, lastStream: peer.peerID(1), text: "stopping")))
        let reason = ResetReason(.refused, "the relay takes no new streams")
        #expect(said.contains(.reset(Reset(stream: peer.peerID(2), finalOffset: 0, reason: reason))))
        #expect(peer.session.isDraining && !peer.session.canOpen && peer.session.streamCount == 2)
    }

    @Test func openStreamsFinish() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [1])
        peer.session.goaway(.draining, "")
        _ = peer.said()
        try peer.hear(.data(2, at: 1, [2], fin: true))
        peer.write(stream, [3])
        peer.session.finish(stream, now: peer.now)
        #expect(peer.said().contains(.data(2, at: 0, [3], fin: true)))
        try peer.hear(.ack(Ack(stream: 2, received: 1, credit: 9, fin: true)))
        #expect(peer.taken[2] == [1, 2])
        #expect(peer.session.streamCount == 0)
    }

    @Test func aDrainIsSaidOnce() throws {
        let peer = try ScriptedPeer()
        peer.session.goaway(.draining, "")
        peer.session.goaway(.draining, "")
        #expect(peer.said().count == 1)
        peer.session.goaway(.draining, "")
        #expect(peer.said().isEmpty)
    }

    /// The peer must learn that it can no longer ask for streams here, whoever drained first.
    @Test func bothSidesMayDrain() throws {
        let peer = try ScriptedPeer()
        try peer.hear(.goaway(Goaway(code: .draining, lastStream: 0, text: "")))
        #expect(peer.session.isDraining && !peer.session.canOpen)
        peer.session.goaway(.draining, "me too")
        #expect(peer.said() == [.goaway(Goaway(code: .draining, lastStream: 0, text: "me too"))])
    }

    /// Whoever does not answer `superseded` may open streams for ever; a drain ends that.
    @Test(arguments: bothRoles)
    func aDrainOfASupersededSessionRefusesStreams(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        peer.session.goaway(.superseded, "another is used")
        try peer.hear(opening(peer.peerID(0)))
        #expect(peer.events() == ["opened \(peer.peerID(0))"])
        peer.session.goaway(.draining, "stopping")
        try peer.hear(opening(peer.peerID(1)))
        #expect(peer.events() == [])
        let reason = ResetReason(.refused, "the relay takes no new streams")
        let said = peer.said()
        #expect(said.contains(.reset(Reset(stream: peer.peerID(1), finalOffset: 0, reason: reason))), "\(said)")
    }

    /// The owner may have to wait with GOAWAY for streams of its own.
    @Test func streamsAreRefusedBeforeGoawayIfTheOwnerWantsIt() throws {
        let peer = try ScriptedPeer()
        peer.session.refuseOpens()
        try peer.hear(opening(2))
        #expect(peer.events() == [] && !peer.session.isDraining)
        peer.session.goaway(.draining, "stopping")
        #expect(peer.said().first == .goaway(Goaway(code: .draining, lastStream: 2, text: "stopping")))
    }

    /// GOAWAY overtakes opens that wait for their first bytes.
    @Test func aPeerThatDrainsMayStillOpenWhatItTookBefore() throws {
        let peer = try ScriptedPeer()
        try peer.hear(.goaway(Goaway(code: .draining, lastStream: 0, text: "")), opening(2))
        #expect(peer.events() == ["goaway draining", "opened 2"])
    }

    @Test func opensThatWaitGoOutAfterADrain() throws {
        let peer = try ScriptedPeer()
        _ = peer.open("s", first: [])
        peer.session.goaway(.draining, "")
        #expect(peer.said().count == 1)
        peer.pass(peer.session.configuration.openWait)
        guard case .open? = peer.said().last else {
            Issue.record("no OPEN")
            return
        }
    }

    @Test func aFaultIsToldAlsoWhileDraining() throws {
        let peer = try ScriptedPeer()
        peer.session.goaway(.draining, "")
        peer.session.goaway(.protocolError, "wrong")
        #expect(peer.said() == [.goaway(Goaway(code: .protocolError, lastStream: 0, text: "wrong"))])
        let other = try ScriptedPeer()
        other.session.goaway(.draining, "")
        _ = other.said()
        other.session.goaway(.protocolError, "wrong")
        #expect(other.said().count == 1)
    }

    @Test func theFirstFaultIsTheOneThatIsTold() throws {
        let peer = try ScriptedPeer()
        peer.session.goaway(.protocolError, "cause")
        peer.session.goaway(.unknownSession, "consequence")
        #expect(peer.said() == [.goaway(Goaway(code: .protocolError, lastStream: 0, text: "cause"))])
        peer.session.goaway(.unknownSession, "consequence")
        #expect(peer.said().isEmpty)
    }

    @Test func nothingFollowsAFault() throws {
        let peer = try ScriptedPeer()
        _ = peer.open(first: [1, 2, 3])
        try peer.hearOpen()
        peer.session.goaway(.protocolError, "wrong")
        #expect(peer.said() == [.goaway(Goaway(code: .protocolError, lastStream: 2, text: "wrong"))])
        #expect(!peer.session.wantsToTransmit)
        #expect(peer.said().isEmpty)
    }

    @Test(arguments: bothRoles)
    func aSessionThatWasNotEstablishedSaysGoaway(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role, established: false)
        peer.session.goaway(.unknownPeer, "not in the configuration")
        let goaway = Frame.goaway(Goaway(code: .unknownPeer, lastStream: 0, text: "not in the configuration"))
        #expect(peer.said().last == goaway)
    }

    /// The peer may have been told to forget this relay meanwhile, and lets what is there come to its end.
    @Test func aRefusedLaneIsNoEndOfTheOthers() throws {
        let peer = try ScriptedPeer()
        let stream = peer.open(), lane = peer.session.addLane(now: peer.now)
        try peer.hear(.goaway(Goaway(code: .unknownPeer, lastStream: 0, text: "")), on: lane)
        #expect(peer.events() == ["refused lane 1 unknown-peer"])
        #expect(!peer.session.isDraining && stream.isLive)
        peer.session.lose(lane, now: peer.now)

        peer.session.lose(peer.lane, now: peer.now)
        let next = peer.session.addLane(now: peer.now)
        try peer.hear(.goaway(Goaway(code: .unknownSession, lastStream: 0, text: "")), on: next)
        #expect(peer.events() == ["goaway unknown-session"], "there is none that could go on")
    }

    @Test func codesOfNewerPeersPass() throws {
        let peer = try ScriptedPeer()
        let code = GoawayCode(rawValue: 999)
        try peer.hear(.goaway(Goaway(code: code, lastStream: .max, text: "later")))
        #expect(peer.events() == ["goaway code-999"])
    }

    @Test func longTextsAreCutAtACharacter() throws {
        let peer = try ScriptedPeer()
        peer.session.goaway(.protocolError, String(repeating: "é", count: 5000))
        guard case .goaway(let goaway)? = peer.said().first else {
            Issue.record("no GOAWAY")
            return
        }
        #expect(goaway.text == String(repeating: "é", count: 512))
    }

    /// One character of many thousand code points, as a hostile peer's text may hold that is quoted in an answer.
    @Test func aTextOfOneLongCharacterIsCutToo() throws {
        let peer = try ScriptedPeer()
        peer.session.goaway(.protocolError, "e" + String(repeating: "\u{301}", count: 5000))
        guard case .goaway(let goaway)? = peer.said().first else {
            Issue.record("no GOAWAY")
            return
        }
        #expect(goaway.text.utf8.count == 1023)
    }
}
