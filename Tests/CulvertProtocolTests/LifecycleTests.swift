import Testing

@testable import CulvertProtocol

/// A stream from its open to its end, each direction on its own.
@Suite struct LifecycleTests {
    @Test(arguments: bothRoles)
    func aStreamIsOverWhenBothDirectionsAre(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        let stream = peer.open(first: [1, 2]), id = peer.ownID(0)
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: id, received: 2, credit: 10, fin: true)))
        #expect(stream.sendEnded && !stream.receiveEnded && !stream.isGone)
        try peer.hear(.data(id, at: 0, [3]), .data(id, at: 1, [4], fin: true))
        #expect(peer.taken[id] == [3, 4])
        #expect(stream.isDelivered && !stream.isGone)
        #expect(peer.events() == ["ended \(id)"])
        // Over as soon as the peer is being told that its end has arrived.
        #expect(peer.said() == [.ack(Ack(stream: id, received: 2, credit: UInt64(ReceiveWindow.initial), fin: true))])
        #expect(peer.events() == ["closed \(id)"])
        #expect(stream.isGone && peer.session.streamCount == 0 && peer.budget.used == 0 && peer.pool.inUse == 0)
    }

    @Test func aHalfCloseLeavesTheOtherDirectionOpen() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [1], fin: true)
        #expect(peer.events() == ["opened 2", "ended 2"])
        for round: UInt64 in 0..<50 {
            peer.write(stream, [UInt8](repeating: 7, count: 1000))
            #expect(peer.said().contains(.data(2, at: 1000 * round, [UInt8](repeating: 7, count: 1000))))
            try peer.hear(.ack(Ack(stream: 2, received: 1000 * (round + 1), credit: 1 << 20)))
        }
        peer.session.finish(stream, now: peer.now)
        #expect(peer.said() == [.data(2, at: 50_000, fin: true)])
        #expect(peer.session.space(stream) == 0)
        peer.session.finish(stream, now: peer.now)
        #expect(peer.said().isEmpty)
    }

    @Test func aStreamIsNotOverBeforeItsLastByteIsTaken() throws {
        let peer = try ScriptedPeer()
        peer.take = { _ in 0 }
        let stream = try peer.hearOpen(first: [1, 2, 3], fin: true)
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 2, received: 0, credit: 9, fin: true)))
        #expect(peer.events() == ["opened 2", "ended 2"])
        peer.session.consume(stream, 2, now: peer.now)
        #expect(!stream.isDelivered && peer.events().isEmpty)
        peer.session.consume(stream, 1, now: peer.now)
        #expect(stream.isDelivered && peer.events().isEmpty, "the peer does not know yet")
        _ = peer.said()
        #expect(peer.events() == ["closed 2"])
    }

    @Test func aStreamWithoutBytesEndsAsOthersDo() throws {
        let peer = try ScriptedPeer()
        let stream = peer.open(first: [])
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        try peer.hear(.data(1, at: 0, fin: true), .ack(Ack(stream: 1, received: 0, credit: 0, fin: true)))
        _ = peer.said()
        #expect(peer.events() == ["ended 1", "closed 1"])
    }

    @Test func whatFollowsBytesThatWaitWaitsBehindThem() throws {
        let peer = try ScriptedPeer()
        peer.take = { _ in 1 }
        let stream = try peer.hearOpen(first: [0, 1, 2])
        #expect(peer.taken[2] == [0])
        try peer.hear(.data(2, at: 3, [3, 4]))
        #expect(peer.taken[2] == [0] && stream.undelivered == 4)
        let waiting = peer.session.read(stream, pieces: 8) { pieces in
            pieces.flatMap { Array(UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len)) }
        }
        #expect(waiting == [1, 2, 3, 4])
        peer.session.consume(stream, 4, now: peer.now)
        try peer.hear(.data(2, at: 5, [5]))
        #expect(peer.taken[2] == [0, 5])
    }

    /// Small frames that lie in one range cost one call of the local side.
    @Test func payloadOfOneRangeIsOfferedTogether() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen()
        var offers: [Int] = []
        peer.take = {
            offers.append($0)
            return $0
        }
        try peer.hear(.data(2, at: 0, [0, 1]), .data(2, at: 2, [2]), .data(2, at: 3, [3, 4, 5]))
        #expect(offers == [6])
        #expect(peer.taken[2] == [0, 1, 2, 3, 4, 5])
    }

    @Test func bytesThatWereSentAreIntactForSendingAgain() throws {
        let peer = try ScriptedPeer()
        let bytes = (0..<500).map { UInt8(truncatingIfNeeded: $0) }
        let stream = peer.open(first: bytes)
        _ = peer.said()
        for start in stride(from: 0, to: 500, by: 20) {
            peer.write(stream, Array(bytes[start..<start + 20]))
            _ = peer.said()
        }
        // Headers were written over them, and what they covered put back.
        let run = stream.send.queue.contiguous(from: 0, limit: .max)
        #expect(Array(run) == bytes + bytes)
    }
}
