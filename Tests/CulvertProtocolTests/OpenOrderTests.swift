import Testing

@testable import CulvertProtocol

/// Opens of one service keep their order while each waits for its first bytes.
@Suite struct OpenOrderTests {
    private let wait = SessionConfiguration(role: .dialler, name: "").openWait

    /// Services in the order of their OPENs, with the first bytes.
    private func opens(_ frames: [Frame]) -> [String] {
        frames.compactMap {
            guard case .open(let open, let first, let fin) = $0 else { return nil }
            return "\(open.stream) \(open.service) \(first)\(fin ? " fin" : "")"
        }
    }

    @Test(arguments: bothRoles)
    func firstBytesGoOutAtOnceInsideTheOpen(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        let stream = peer.open("a", first: [1, 2, 3])
        #expect(stream.id == 0)
        let frames = peer.said()
        let credit = UInt64(stream.receiveWindow)
        let open = Open(stream: peer.ownID(0), credit: credit, priority: .auto, service: "a")
        #expect(frames == [.open(open, first: [1, 2, 3])])
        #expect(stream.id == peer.ownID(0))
    }

    @Test func anEndTravelsInsideTheOpen() throws {
        let peer = try ScriptedPeer()
        let spoken = peer.open("a", first: [7])
        peer.session.finish(spoken, now: peer.now)
        let silent = peer.open("b", first: [])
        peer.session.finish(silent, now: peer.now)
        #expect(opens(peer.said()) == ["1 a [7] fin", "3 b [] fin"])
    }

    @Test func moreFirstBytesThanAnOpenHoldsFollowAsData() throws {
        let peer = try ScriptedPeer()
        let bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0) }
        let stream = peer.open("a", first: bytes)
        peer.session.finish(stream, now: peer.now)
        let room = FrameEncoder.openRoom(service: "a")
        let frames = peer.said()
        guard case .open(_, let first, let fin) = frames[0], frames.count == 2 else {
            Issue.record("said \(frames.count) frames")
            return
        }
        #expect(first == Array(bytes[..<room]) && !fin)
        #expect(frames[1] == .data(1, at: UInt64(room), Array(bytes[room...]), fin: true))
    }

    @Test func aSilentOpenGoesOutAloneAfterTheWait() throws {
        let peer = try ScriptedPeer()
        _ = peer.open("a", first: [])
        #expect(peer.said().isEmpty)
        #expect(peer.session.deadline <= peer.now + wait)
        peer.pass(wait - 1)
        #expect(opens(peer.said()) == [])
        peer.pass(1)
        #expect(opens(peer.said()) == ["1 a []"])
    }

    @Test func talkersWaitForTheSilentOnesInFrontOfThem() throws {
        let peer = try ScriptedPeer()
        _ = peer.open("a", first: [])
        peer.pass(wait / 2)
        _ = peer.open("a", first: [2])
        _ = peer.open("a", first: [])
        _ = peer.open("b", first: [4])
        // The other service is not held up.
        #expect(opens(peer.said()) == ["1 b [4]"])
        peer.pass(wait / 2)
        #expect(opens(peer.said()) == ["3 a []", "5 a [2]"])
        peer.pass(wait / 2)
        #expect(opens(peer.said()) == ["7 a []"])
    }

    @Test func aHeadThatSpeaksLetsTheOthersGo() throws {
        let peer = try ScriptedPeer()
        let head = peer.open("a", first: [])
        _ = peer.open("a", first: [2])
        #expect(peer.said().isEmpty)
        peer.write(head, [1])
        #expect(opens(peer.said()) == ["1 a [1]", "3 a [2]"])
    }

    @Test(arguments: [false, true])
    func aResetBeforeTheOpenLeavesNothing(afterData: Bool) throws {
        let peer = try ScriptedPeer()
        let stream = peer.open("a", first: [])
        peer.session.reset(stream, ResetReason(.localClosed, ""), afterData: afterData, now: peer.now)
        #expect(stream.isGone)
        #expect(peer.session.opens.isEmpty)
        #expect(peer.session.streamCount == 0)
        #expect(peer.budget.used == 0)
        peer.pass(wait)
        #expect(opens(peer.said()) == [])
    }

    @Test func aResetHeadHoldsNobodyUp() throws {
        let peer = try ScriptedPeer()
        let head = peer.open("a", first: [])
        _ = peer.open("a", first: [])
        _ = peer.open("a", first: [3])
        peer.session.reset(head, ResetReason(.localClosed, ""), now: peer.now)
        #expect(peer.said().isEmpty)
        peer.pass(wait)
        #expect(opens(peer.said()) == ["1 a []", "3 a [3]"])
    }

    @Test func aResetHeadLetsATalkerGoAtOnce() throws {
        let peer = try ScriptedPeer()
        let head = peer.open("a", first: [])
        let middle = peer.open("a", first: [])
        _ = peer.open("a", first: [3])
        peer.session.reset(middle, ResetReason(.localClosed, ""), now: peer.now)
        #expect(peer.said().isEmpty)
        peer.session.reset(head, ResetReason(.localClosed, ""), now: peer.now)
        #expect(opens(peer.said()) == ["1 a [3]"])
        #expect(peer.session.opens.isEmpty)
    }

    /// Sixty-four opens of a few services, some silent, some late, some reset: each service's are heard in order.
    @Test(arguments: Seeds.list(20))
    func orderHoldsWhateverTheySay(seed: UInt64) throws {
        var random = Seeded(seed)
        let peer = try ScriptedPeer()
        var waiting: [SessionStream] = [], expected: [String: [SessionStream]] = [:], heard: [Frame] = []
        for _ in 0..<64 {
            let stream = peer.open("s\(random.below(3))", first: random.chance(30) ? [1] : [])
            waiting.append(stream)
            expected[stream.service, default: []].append(stream)
            if random.chance(40) { peer.pass(wait / UInt64(1 + random.below(8))) }
            if random.chance(50) { heard += peer.said() }
            let other = waiting[random.below(waiting.count)]
            switch random.below(6) {
            case 0:
                let afterData = random.chance(50)
                peer.session.reset(other, ResetReason(.localClosed, ""), afterData: afterData, now: peer.now)
            case 1 where peer.session.space(other) > 0: peer.write(other, [9])
            case 2: peer.session.finish(other, now: peer.now)
            default: break
            }
        }
        peer.pass(wait)
        heard += peer.said()
        #expect(peer.session.opens.isEmpty, "seed \(seed)")
        for (service, streams) in expected {
            let ids = streams.map(\.id).filter { $0 != 0 }
            #expect(ids == ids.sorted(), "service \(service), seed \(seed)")
        }
        let ids = heard.compactMap { if case .open(let open, _, _) = $0 { open.stream } else { nil } }
        #expect(ids == (0..<UInt64(ids.count)).map(peer.ownID), "seed \(seed)")
    }
}
