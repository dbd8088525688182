import Testing

@testable import CulvertProtocol

/// Resets: at once or behind the data, from either side, at any moment.
@Suite struct ResetTests {
    private let broken = ResetReason(.localClosed, errno: 104, "the target closed the connection")

    private func resets(_ frames: [Frame]) -> [Frame] {
        frames.filter { if case .reset = $0 { true } else { false } }
    }

    private func acks(_ frames: [Frame]) -> [Frame] {
        frames.filter { if case .ack = $0 { true } else { false } }
    }

    // MARK: This side resets

    @Test(arguments: bothRoles)
    func aResetDropsWhatIsUnsentAndSaysHowFarItGot(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role, initialCredit: 2)
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        peer.session.reset(stream, broken, now: peer.now)
        #expect(stream.isGone)
        #expect(peer.said() == [.reset(Reset(stream: peer.ownID(0), finalOffset: 2, reason: broken))])
        #expect(peer.session.streamCount == 0 && peer.budget.used == 0 && peer.pool.inUse == 0)
    }

    @Test func aResetAfterDataFollowsTheLastByte() throws {
        let peer = try ScriptedPeer(initialCredit: 2)
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        #expect(peer.said().isEmpty)
        try peer.hear(.ack(Ack(stream: 1, received: 2, credit: 9)))
        #expect(peer.said() == [.data(1, at: 2, [3])])
        // Not before the peer has the last byte: on another lane the reset might overtake it.
        #expect(!stream.isGone)
        try peer.hear(.ack(Ack(stream: 1, received: 3, credit: 9)))
        #expect(peer.said() == [.reset(Reset(stream: 1, finalOffset: 3, reason: broken))])
        #expect(stream.isGone)
    }

    @Test func aResetAfterDataCanStillBecomeImmediate() throws {
        let peer = try ScriptedPeer(initialCredit: 2)
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        peer.session.reset(stream, ResetReason(.shutdown, ""), now: peer.now)
        #expect(peer.said() == [.reset(Reset(stream: 1, finalOffset: 2, reason: ResetReason(.shutdown, "")))])
    }

    @Test func aResetAfterDataThatHasArrivedIsImmediate() throws {
        let peer = try ScriptedPeer()
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 1, received: 3, credit: 9)))
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        #expect(stream.isGone)
        #expect(peer.said() == [.reset(Reset(stream: 1, finalOffset: 3, reason: broken))])
    }

    @Test func nothingCanBeWrittenBehindAReset() throws {
        let peer = try ScriptedPeer(initialCredit: 2)
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        #expect(peer.session.space(stream) == 0)
    }

    /// The peer would take a stream for whole of which the last bytes were thrown away.
    @Test(arguments: [false, true]) func theEndOfWhatIsDroppedIsNotAcknowledged(resetFirst: Bool) throws {
        let peer = try ScriptedPeer(initialCredit: 9)
        let stream = peer.open(first: [1, 2, 3])
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        // The local side breaks; why, is being read meanwhile.
        peer.take = { _ in 0 }
        if resetFirst {
            peer.session.reset(stream, broken, afterData: true, now: peer.now)
        } else {
            peer.session.dropWhatArrives(stream, now: peer.now)
        }
        try peer.hear(.data(1, at: 0, [7, 8], fin: true))
        peer.pass(SessionConfiguration.ackDelay)
        #expect(acks(peer.said()) == [.ack(Ack(stream: 1, received: 2, credit: stream.receive.credit))])
        #expect(!stream.isDelivered && stream.undelivered == 0)
        try peer.hear(.ack(Ack(stream: 1, received: 3, credit: 9, fin: true)))
        #expect(!peer.events().contains { $0.hasPrefix("closed") })
        if !resetFirst { peer.session.reset(stream, broken, afterData: true, now: peer.now) }
        #expect(resets(peer.said()) == [.reset(Reset(stream: 1, finalOffset: 3, reason: broken))])
        #expect(peer.budget.used == 0 && peer.pool.inUse == 0)
    }

    /// A peer whose program writes before it reads would never take the data in front of the reset if its own were left
    /// to fill its window.
    @Test func whatArrivesBeforeADelayedResetIsDroppedAndAcknowledged() throws {
        let peer = try ScriptedPeer(streamWindow: 64 << 10, initialCredit: 2)
        peer.take = { _ in 0 }
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        let window = [UInt8](repeating: 0, count: 64 << 10)
        try peer.hear(.data(1, at: 0, window))
        #expect(stream.undelivered == window.count)
        _ = peer.said()
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        #expect(stream.undelivered == 0)
        #expect(peer.said() == [.ack(Ack(stream: 1, received: 64 << 10, credit: 128 << 10))])
        try peer.hear(.data(1, at: 64 << 10, window, fin: true))
        #expect(peer.pool.inUse == Chunk.size)
        peer.pass(SessionConfiguration.ackDelay)
        #expect(acks(peer.said()) == [.ack(Ack(stream: 1, received: 128 << 10, credit: 128 << 10))])
        #expect(peer.taken[1] == [])
    }

    @Test func nothingIsHeardOfAStreamAfterItsReset() throws {
        let peer = try ScriptedPeer(initialCredit: 2)
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        try peer.hear(.data(1, at: 0, [4], fin: true))
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        try peer.hear(.reset(Reset(stream: 1, finalOffset: 1, reason: broken)))
        #expect(peer.events() == [])
        #expect(stream.isGone)
    }

    @Test func aResetWhileBytesAreOnOfferDropsThem() throws {
        let peer = try ScriptedPeer()
        peer.onDelivery = { [unowned peer] in peer.session.reset($0, self.broken, now: peer.now) }
        let open = Open(stream: 2, credit: 9, priority: .auto, service: "s")
        try peer.hear(.open(open, first: [1]), .data(2, at: 1, [2], fin: true))
        #expect(peer.said() == [.reset(Reset(stream: 2, finalOffset: 0, reason: broken))])
        #expect(peer.pool.inUse == 0 && peer.session.streamCount == 0 && peer.budget.used == 0)
    }

    @Test func framesForAStreamThatIsOverAreDropped() throws {
        let peer = try ScriptedPeer()
        let stream = peer.open()
        _ = peer.said()
        peer.session.reset(stream, broken, now: peer.now)
        _ = peer.said()
        try peer.hear(
            .data(1, at: 77, [1, 2], fin: true), .ack(Ack(stream: 1, received: 99, credit: 0, fin: true)),
            .ack(Ack(stream: 1, received: 0, credit: 0, reset: true)))
        #expect(peer.said().isEmpty && peer.events().isEmpty && peer.taken.isEmpty)
    }

    // MARK: The peer resets

    @Test(arguments: bothRoles)
    func aResetIsAcknowledgedAndItsTailStaysReadable(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        peer.take = { _ in 0 }
        let stream = try peer.hearOpen(first: [1, 2, 3])
        _ = peer.said()
        try peer.hear(.reset(Reset(stream: stream.id, finalOffset: 3, reason: broken)))
        #expect(peer.events() == ["opened \(stream.id)", "reset \(stream.id) local-closed"])
        #expect(peer.said() == [.ack(Ack(stream: stream.id, received: 0, credit: 0, reset: true))])
        #expect(stream.isGone && stream.undelivered == 3)
        peer.session.consume(stream, 3, now: peer.now)
        #expect(peer.pool.inUse == 0)
    }

    @Test func aRepeatedResetIsAcknowledgedAgain() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen()
        let reset = Frame.reset(Reset(stream: 2, finalOffset: 0, reason: broken))
        try peer.hear(reset, reset)
        #expect(acks(peer.said()).count == 2)
        #expect(peer.events() == ["opened 2", "reset 2 local-closed"])
    }

    @Test func resetsThatCrossAreBothAcknowledged() throws {
        let peer = try ScriptedPeer()
        let stream = peer.open()
        _ = peer.said()
        peer.session.reset(stream, broken, now: peer.now)
        let refused = ResetReason(.connectFailed, errno: 111, "refused")
        try peer.hear(.reset(Reset(stream: 1, finalOffset: 0, reason: refused)))
        let frames = peer.said()
        #expect(acks(frames) == [.ack(Ack(stream: 1, received: 0, credit: 0, reset: true))])
        #expect(resets(frames) == [.reset(Reset(stream: 1, finalOffset: 1, reason: broken))])
    }

    @Test func aResetOfAStreamThatWasNeverOpenedIsAViolation() throws {
        for id: UInt64 in [0, 1, 2, 3, .max] {
            let peer = try ScriptedPeer()
            #expect(violation { try peer.hear(.reset(Reset(stream: id, finalOffset: 0, reason: self.broken))) } != nil)
        }
    }

    /// More may be on its way on another lane, less cannot be.
    @Test(arguments: [0, 2, 3, 4, UInt64(Int64.max), .max])
    func aFinalOffsetInFrontOfWhatHasArrivedIsAViolation(offset: UInt64) throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen(first: [1, 2, 3])
        let fault = violation { try peer.hear(.reset(Reset(stream: 2, finalOffset: offset, reason: self.broken))) }
        #expect((fault != nil) == (offset < 3))
    }

    // MARK: What tails cost

    /// Otherwise a peer could open, send and reset without end, and have each tail kept.
    @Test func tailsCountUntilTheyAreTaken() throws {
        let peer = try ScriptedPeer(maximumStreams: 2)
        peer.take = { _ in 0 }
        var streams: [SessionStream] = []
        for n: UInt64 in 0...1 {
            streams.append(try peer.hearOpen(n, first: [1]))
            for part: UInt64 in 0..<4 {
                try peer.hear(.data(peer.peerID(n), at: 1 + part << 16, [UInt8](repeating: 0, count: 64 << 10)))
            }
            try peer.hear(.reset(Reset(stream: peer.peerID(n), finalOffset: 1 + 256 << 10, reason: broken)))
        }
        _ = peer.said()
        #expect(peer.session.streamCount == 2)
        #expect(peer.budget.used >= 2 * 192 << 10)
        try peer.hear(.open(Open(stream: 6, credit: 0, priority: .auto, service: "s")))
        #expect(resets(peer.said()).count == 1)

        peer.session.consume(streams[0], streams[0].undelivered, now: peer.now)
        #expect(peer.session.streamCount == 1)
        peer.session.reset(streams[1], broken, now: peer.now)
        #expect(streams[1].undelivered == 0)
        #expect(peer.session.streamCount == 0 && peer.budget.used == 0 && peer.pool.inUse == 0)
        try peer.hear(.open(Open(stream: 8, credit: 0, priority: .auto, service: "s")))
        #expect(resets(peer.said()).isEmpty)
    }

    @Test func aTailThatIsDroppedCountsNoLonger() throws {
        let peer = try ScriptedPeer()
        peer.take = { _ in 0 }
        var stream: SessionStream? = try peer.hearOpen(first: [UInt8](repeating: 0, count: 1000))
        try peer.hear(.reset(Reset(stream: 2, finalOffset: 1000, reason: broken)))
        _ = peer.takeEvents()
        peer.pass(SessionConfiguration.ackDelay)
        _ = peer.said()
        #expect(stream?.undelivered == 1000 && peer.session.streamCount == 1)
        stream = nil
        #expect(peer.session.streamCount == 0 && peer.budget.used == 0 && peer.pool.inUse == 0)
    }

    /// It is never delivered, so nobody would give it up later.
    @Test(arguments: [false, true]) func whatLiesBehindAGapIsGivenUpAtOnce(byPeer: Bool) throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen()
        for part: UInt64 in 0..<4 {
            try peer.hear(.data(2, at: 1 + part << 16, [UInt8](repeating: 0, count: 64 << 10)))
        }
        #expect(peer.pool.inUse > 256 << 10)
        if byPeer {
            try peer.hear(.reset(Reset(stream: 2, finalOffset: 1 + 256 << 10, reason: broken)))
        } else {
            peer.session.reset(stream, broken, now: peer.now)
        }
        #expect(stream.isGone && peer.session.streamCount == 0)
        #expect(peer.budget.used == 0 && peer.pool.inUse == 0)
    }

    @Test func aTailInFrontOfAGapStaysReadable() throws {
        let peer = try ScriptedPeer()
        peer.take = { _ in 0 }
        let stream = try peer.hearOpen(first: [1, 2, 3])
        try peer.hear(.data(2, at: 200_000, [9]))
        try peer.hear(.reset(Reset(stream: 2, finalOffset: 200_001, reason: broken)))
        #expect(stream.undelivered == 3 && peer.pool.inUse == Chunk.size)
        peer.session.consume(stream, 3, now: peer.now)
        #expect(peer.session.streamCount == 0 && peer.budget.used == 0 && peer.pool.inUse == 0)
    }

    /// The rules are the same as for bytes that are kept.
    @Test func whatIsDroppedBehindAGapTakesNoMemory() throws {
        let peer = try ScriptedPeer(initialCredit: 2)
        let stream = peer.open(first: [1, 2, 3])
        _ = peer.said()
        try peer.hear(.data(1, at: 100_000, [1, 2]))
        peer.session.reset(stream, broken, afterData: true, now: peer.now)
        try peer.hear(.data(1, at: 200_000, [1, 2]))
        #expect(peer.pool.inUse == Chunk.size, "the bytes that go out before the reset")
        #expect(violation { try peer.hear(.data(1, at: 200_001, fin: true)) } != nil)
        try peer.hear(.data(1, at: 0, [UInt8](repeating: 0, count: 100_000)))
        #expect(stream.receive.received == 100_002)
        try peer.hear(.data(1, at: 100_002, [UInt8](repeating: 0, count: 99_998)))
        #expect(stream.receive.received == 200_002)
        #expect(peer.pool.inUse == Chunk.size && peer.taken[1] == nil)
    }

    @Test func aSessionThatEndsLeavesNothingInTheBudget() throws {
        var peer: ScriptedPeer? = try ScriptedPeer()
        let budget = try #require(peer).budget, pool = try #require(peer).pool
        _ = peer?.open("silent", first: [])
        _ = peer?.open("spoken", first: [UInt8](repeating: 0, count: 200_000))
        try peer?.hearOpen(first: [1])
        #expect(budget.used > 0)
        peer = nil
        #expect(budget.used == 0 && pool.inUse == 0)
    }
}
