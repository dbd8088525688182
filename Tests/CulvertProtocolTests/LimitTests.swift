import Testing

@testable import CulvertProtocol

/// What a peer can make this side keep has a limit, and staying within it is never punished.
///
/// Limits that are reached elsewhere:
///
/// | limit | test |
/// |---|---|
/// | DATA, PACKED and other frames too long or short; names, services and texts | `VectorTests.malformedFramesAreViolations` |
/// | the largest frames pass | `DecoderTests.theLargestFramesPass`, `HelloTests.aNameOfTheFullLengthPasses` |
/// | own texts are cut | `GoawayTests.longTextsAreCutAtACharacter` |
/// | credit; offsets and ends that overflow, go back or too far | `CreditTests`, `ResetTests.aFinalOffsetInFront…` |
/// | gaps, and ranges in flight | `CreditTests.aPeerThatLeavesGaps…`, `aLargeWindowMayHaveMoreGaps`, `aSenderMakesLargerFrames…` |
/// | windows | `WindowTests.aWindowGrowsNoFurtherThanItMay`, `windowsLeaveRoomForOthers` |
/// | memory, and what is guaranteed beyond it | `IsolationTests.manyStoppedReadersStayWithinTheBudget`, `aBudgetOfNothing…` |
/// | idle chunks of a pool | `BufferTests.aPoolKeepsNoMoreThanItsSpares` |
/// | the wait of an OPEN; silence; a session without a lane | `OpenOrderTests`, `TimeTests`, `ResumeTests.aSessionWithoutALaneIsGivenUp` |
/// | who may join: secret, session, number of the lane | `ResumeTests.onlyWhoKnowsTheSecretJoins`, `aLaneThatIsThereIsNotMadeAgain` |
@Suite struct LimitTests {
    private func opening(_ id: UInt64) -> Frame { .open(Open(stream: id, credit: 0, priority: .auto, service: "s")) }

    @Test(arguments: bothRoles)
    func streamsBeyondTheLimitAreRefused(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role, maximumStreams: 2)
        for n: UInt64 in 0..<3 { try peer.hear(opening(peer.peerID(n))) }
        #expect(peer.events() == ["opened \(peer.peerID(0))", "opened \(peer.peerID(1))"])
        let refused = peer.said().compactMap { frame -> Reset? in
            if case .reset(let reset) = frame { reset } else { nil }
        }
        #expect(refused.map(\.stream) == [peer.peerID(2)] && refused[0].reason.code == .refused)
        #expect(refused[0].finalOffset == 0)
    }

    @Test func aStreamThatIsOverMakesRoom() throws {
        let peer = try ScriptedPeer(maximumStreams: 1)
        let stream = try peer.hearOpen(first: [1], fin: true)
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 2, received: 0, credit: 0, fin: true)))
        #expect(peer.events() == ["opened 2", "ended 2", "closed 2"])
        try peer.hearOpen(1)
        #expect(peer.events() == ["opened 4"])
    }

    @Test func aRefusedStreamDoesNotDisturbTheNext() throws {
        let peer = try ScriptedPeer(maximumStreams: 1)
        let stream = try peer.hearOpen()
        try peer.hear(opening(4), .data(4, at: 0, [1, 2], fin: true))
        try peer.hear(.ack(Ack(stream: 4, received: 0, credit: 0, reset: true)))
        peer.session.reset(stream, ResetReason(.shutdown, ""), now: peer.now)
        try peer.hearOpen(2)
        #expect(peer.session.streamCount == 1)
    }

    @Test(arguments: bothRoles)
    func ownStreamsStayWithinThePeersLimit(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role, peerMaximumStreams: 2)
        #expect(peer.session.canOpen)
        let first = peer.open(), second = peer.open("silent", first: [])
        #expect(!peer.session.canOpen)
        peer.session.reset(second, ResetReason(.localClosed, ""), now: peer.now)
        #expect(peer.session.canOpen)
        _ = peer.open()
        _ = peer.said()
        #expect(!peer.session.canOpen)
        peer.session.reset(first, ResetReason(.localClosed, ""), now: peer.now)
        #expect(peer.session.canOpen)
    }

    @Test func aPeerThatAllowsNoneGetsNone() throws {
        #expect(try !ScriptedPeer(peerMaximumStreams: 0).session.canOpen)
        #expect(try ScriptedPeer(peerMaximumStreams: .max).session.canOpen)
    }

    /// However many a peer allows: it could be owed answers for all of them.
    @Test func ownStreamsHaveABound() throws {
        let peer = try ScriptedPeer(peerMaximumStreams: .max, budget: 0)
        var streams: [SessionStream] = []
        while peer.session.canOpen, streams.count < 100_000 { streams.append(peer.session.open(service: "s", now: peer.now)) }
        #expect(streams.count == 65_536)
    }

    @Test func aBlockStandsForNoMoreThanItMay() throws {
        for (count, fits) in [(WireLimit.packedPlain, true), (WireLimit.packedPlain + 1, false)] {
            let packer = Packer(WillingCodec())
            let bytes = Frame.packed(1, at: 0, plain: UInt32(count), [0]).bytes.dropFirst(FrameHeader.size)
            let fault = violation { try Array(bytes).withUnsafeBytes { _ = try packer.unpack($0) } }
            #expect((fault == nil) == fits)
        }
    }

    @Test(arguments: bothRoles)
    func idsGoUpByTwoWithoutGaps(role: SessionConfiguration.Role) throws {
        for wrong in [0, 1, 2, 3, 4, 5, 6, 7, UInt64.max] {
            let peer = try ScriptedPeer(role)
            try peer.hearOpen(0)
            let fault = violation { try peer.hear(opening(wrong)) }
            // The id before is a repeat, as after the loss of a lane.
            #expect((fault == nil) == (wrong == peer.peerID(1) || wrong == peer.peerID(0)), "\(wrong)")
            #expect(peer.session.table.count == (wrong == peer.peerID(1) ? 2 : 1))
        }
    }

    @Test func framesOfStreamsThatWereNeverOpenedAreViolations() throws {
        for id in [0, 1, 2, 3, 4, UInt64.max - 1, .max] {
            for frame in [Frame.data(id, at: 0, [1]), .data(id, at: 0), .ack(Ack(stream: id, received: 0, credit: 0))] {
                let peer = try ScriptedPeer()
                #expect(violation { try peer.hear(frame) } != nil, "\(frame)")
            }
        }
    }

    // MARK: Floods

    @Test func repeatedResetsThatNobodyReadsTheAnswersToEnd() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        try peer.hearOpen()
        let reset = Frame.reset(Reset(stream: 2, finalOffset: 0, reason: ResetReason(.localClosed, ""))).bytes
        let fault = violation {
            for _ in 0..<100_000 { try peer.hear(bytes: reset) }
        }
        #expect(fault != nil)
        #expect(peer.said().count < 2000)
    }

    @Test func refusedOpensThatNobodyReadsTheAnswersToEnd() throws {
        let peer = try ScriptedPeer(maximumStreams: 0)
        let fault = violation {
            for n: UInt64 in 0..<100_000 { try peer.hear(opening(peer.peerID(n))) }
        }
        #expect(fault != nil)
        #expect(peer.said().count < 2000)
    }

    /// The peer opens its stream of that number, and the owner resets it at once.
    private func openAndReset(_ n: UInt64, _ peer: ScriptedPeer) throws {
        try peer.hear(opening(peer.peerID(n)))
        for case .opened(let stream) in peer.takeEvents() {
            peer.session.reset(stream, ResetReason(.unknownService, ""), now: peer.now)
        }
    }

    @Test func opensThatTheOwnerResetsCountToo() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        let fault = violation {
            for n: UInt64 in 0..<100_000 {
                try openAndReset(n, peer)
            }
        }
        #expect(fault != nil)
        #expect(peer.said().count < 4000)
    }

    /// The peer forgets at once what it is about to be told.
    @Test func resetsThatAreAcknowledgedBeforeTheyAreSentCountToo() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        let fault = violation {
            for n: UInt64 in 0..<100_000 {
                try openAndReset(n, peer)
                try peer.hear(.ack(Ack(stream: peer.peerID(n), received: 0, credit: 0, reset: true)))
            }
        }
        #expect(fault != nil)
        #expect(peer.session.resets.count < 2000)
    }

    /// Answers to resets go first. With enough of them on their way, nothing behind them ever moves.
    @Test func streamsThatAreOverDoNotPileUpBehindAnswers() throws {
        let peer = try ScriptedPeer(maximumStreams: 1000)
        for n: UInt64 in 0..<20_000 {
            let stream = try peer.hearOpen(n)
            peer.write(stream, [1])
            try peer.hear(.reset(Reset(stream: stream.id, finalOffset: 0, reason: ResetReason(.localClosed, ""))))
            _ = peer.takeEvents()
            guard n > 1000 else { continue }
            for case .ping(let value) in peer.said(room: 1) { try peer.hear(.pong(value)) }
            peer.now += 1000
        }
        #expect(!peer.session.resetAcks.isEmpty)
        #expect(peer.session.acks.count < 1000)
        #expect(peer.session.backlog < 1000)
    }

    @Test func repeatedEndsThatNobodyReadsTheAnswersToEnd() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        let stream = try peer.hearOpen(fin: true)
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 2, received: 0, credit: 9, fin: true)))
        #expect(peer.events().last == "closed 2")
        let end = Frame.data(2, at: 0, fin: true).bytes
        let fault = violation {
            for _ in 0..<100_000 { try peer.hear(bytes: end) }
        }
        #expect(fault != nil)
        #expect(peer.said().count < 2000)
    }

    /// What was said last on a stream is kept until an answer to a ping shows that it arrived.
    @Test func answersOfWhichNobodyConfirmsOneEnd() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        try peer.hearOpen()
        let reset = Frame.reset(Reset(stream: 2, finalOffset: 0, reason: ResetReason(.localClosed, ""))).bytes
        let fault = violation {
            for _ in 0..<100_000 {
                try peer.hear(bytes: reset)
                _ = peer.said()
            }
        }
        #expect(fault != nil)
        #expect(peer.lane.lastWords.count < 10_000)
    }

    /// One lane asks, another brings the answers.
    @Test func answersOnAnotherLaneCountToo() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        try peer.hearOpen()
        let other = try peer.rejoin()
        let reset = Frame.reset(Reset(stream: 2, finalOffset: 0, reason: ResetReason(.localClosed, ""))).bytes
        let fault = violation {
            for _ in 0..<100_000 {
                try peer.hear(bytes: reset)
                _ = peer.said(on: other)
            }
        }
        #expect(fault != nil)
        #expect(other.lastWords.count < 10_000)
    }

    @Test func manyAnswersAskForAPingOfTheirOwn() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        for n: UInt64 in 0..<20_000 {
            let stream = try peer.hearOpen(n, fin: true)
            peer.session.finish(stream, now: peer.now)
            for case .ping(let value) in peer.said() { try peer.hear(.pong(value)) }
            try peer.hear(.ack(Ack(stream: stream.id, received: 0, credit: 9, fin: true)))
            peer.now += 1000
        }
        #expect(peer.lane.lastWords.count < 1000)
    }

    /// A round trip that is longer than the time between pings: each answer is one to an earlier ping.
    @Test func lateAnswersConfirmToo() throws {
        let peer = try ScriptedPeer(maximumStreams: 10)
        var pings: [UInt64] = []
        for n: UInt64 in 0..<20_000 {
            let stream = try peer.hearOpen(n, fin: true)
            peer.session.finish(stream, now: peer.now)
            for case .ping(let value) in peer.said() { pings.append(value) }
            try peer.hear(.ack(Ack(stream: stream.id, received: 0, credit: 9, fin: true)))
            if pings.count > 2 { try peer.hear(.pong(pings.removeFirst())) }
            peer.pass(10_000_000)
        }
        #expect(peer.session.roundTrip == nil || !pings.isEmpty)
        #expect(peer.lane.lastWords.count < 1000)
    }

    /// A peer is not to blame for what this side resets of its own accord, nor for answering it.
    @Test func resettingManyOwnStreamsIsNoFlood() throws {
        let peer = try ScriptedPeer(maximumStreams: 1, peerMaximumStreams: 10_000)
        let streams = (0..<10_000).map { _ in peer.open() }
        _ = peer.said()
        for stream in streams { peer.session.reset(stream, ResetReason(.shutdown, ""), now: peer.now) }
        try peer.hear(.ping(1))
    }

    @Test func aPeerMayResetAllOfManyStreams() throws {
        let peer = try ScriptedPeer(maximumStreams: 1, peerMaximumStreams: 10_000)
        let streams = (0..<10_000).map { _ in peer.open() }
        _ = peer.said()
        for stream in streams {
            try peer.hear(.reset(Reset(stream: stream.id, finalOffset: 0, reason: ResetReason(.shutdown, ""))))
        }
        #expect(peer.said().filter { $0 != .ping(peer.now) }.count == 10_000)
    }

    @Test func pingsAreAnsweredOnceForAll() throws {
        let peer = try ScriptedPeer()
        for value: UInt64 in 0..<10_000 { try peer.hear(.ping(value)) }
        #expect(peer.said() == [.pong(9999)])
    }

    // MARK: What this side asks for

    @Test func aServiceAsLongAsItMayBeIsAskedForWhole() throws {
        let peer = try ScriptedPeer()
        let service = String(repeating: "é", count: 127) + "x"
        _ = peer.open(service)
        guard case .open(let open, _, _)? = peer.said().first else {
            Issue.record("no OPEN")
            return
        }
        #expect(open.service == service)
    }

    /// Cut short it would be another service.
    @Test func aServiceThatIsTooLongIsABug() async {
        await #expect(processExitsWith: .failure) {
            _ = try ScriptedPeer().session.open(service: String(repeating: "x", count: 256), now: 0)
        }
    }
}

/// Takes every block.
private final class WillingCodec: BlockCodec {
    func wants() -> Bool { true }
    func compress(_ plain: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer) -> Int? { nil }
    func decompress(_ block: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer) -> Bool { true }
}
