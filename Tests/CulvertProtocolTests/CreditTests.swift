import Testing

@testable import CulvertProtocol

/// Offsets and credits are absolute and hostile: repeats are harmless, contradictions end the session, no value traps.
@Suite struct CreditTests {
    // MARK: What the peer acknowledges

    /// A session whose first stream has sent `count` bytes.
    private func sender(_ count: Int = 10) throws -> (ScriptedPeer, SessionStream) {
        let peer = try ScriptedPeer(initialCredit: 20)
        let stream = peer.open(first: [UInt8](repeating: 5, count: count))
        _ = peer.said()
        return (peer, stream)
    }

    @Test func bytesStayUntilTheyAreAcknowledged() throws {
        let (peer, stream) = try sender()
        #expect(stream.unacknowledged == 10)
        try peer.hear(.ack(Ack(stream: 1, received: 4, credit: 100)))
        #expect(stream.unacknowledged == 6)
        #expect(stream.sendWindow == 90)
        try peer.hear(.ack(Ack(stream: 1, received: 10, credit: 100)))
        #expect(stream.unacknowledged == 0)
        #expect(peer.pool.inUse == 0)
    }

    @Test func repeatedAndOlderAcksChangeNothing() throws {
        let (peer, stream) = try sender()
        let ack = Frame.ack(Ack(stream: 1, received: 8, credit: 100))
        try peer.hear(ack, ack)
        try peer.hear(.ack(Ack(stream: 1, received: 3, credit: 50)), .ack(Ack(stream: 1, received: 0, credit: 0)))
        #expect(stream.unacknowledged == 2)
        #expect(stream.sendWindow == 90)
    }

    @Test func creditBeyondAllBytesIsTaken() throws {
        let (peer, stream) = try sender()
        try peer.hear(.ack(Ack(stream: 1, received: 10, credit: .max)))
        #expect(stream.sendWindow == Int.max)
        peer.write(stream, [UInt8](repeating: 6, count: 1000))
        #expect(peer.said() == [.data(1, at: 10, [UInt8](repeating: 6, count: 1000))])
    }

    @Test(arguments: bothRoles)
    func unlimitedCreditFromTheStart(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role, initialCredit: .max)
        #expect(peer.open().sendWindow == Int.max)
        #expect(try peer.hearOpen(credit: .max).sendWindow == Int.max)
    }

    @Test func nothingGoesOutBeyondTheCredit() throws {
        let peer = try ScriptedPeer(initialCredit: 3)
        let stream = peer.open(first: [1, 2, 3, 4, 5])
        peer.session.finish(stream, now: peer.now)
        let credit = UInt64(stream.receiveWindow)
        let open = Open(stream: 1, credit: credit, priority: .auto, service: "s")
        #expect(peer.said() == [.open(open, first: [1, 2, 3])])
        #expect(peer.said().isEmpty)
        try peer.hear(.ack(Ack(stream: 1, received: 0, credit: 4)))
        #expect(peer.said() == [.data(1, at: 3, [4])])
        try peer.hear(.ack(Ack(stream: 1, received: 4, credit: 10)))
        #expect(peer.said() == [.data(1, at: 4, [5], fin: true)])
    }

    @Test func anEndNeedsNoCredit() throws {
        let peer = try ScriptedPeer(initialCredit: 2)
        let stream = peer.open(first: [1, 2])
        _ = peer.said()
        peer.session.finish(stream, now: peer.now)
        #expect(peer.said() == [.data(1, at: 2, fin: true)])
    }

    @Test(arguments: [11, UInt64(Int64.max), .max])
    func acknowledgingWhatWasNotSentIsAViolation(received: UInt64) throws {
        let (peer, _) = try sender()
        let fault = violation { try peer.hear(.ack(Ack(stream: 1, received: received, credit: .max))) }
        #expect(fault?.description == "stream 1: acknowledges \(received), only 10 was sent")
    }

    @Test func acknowledgingAnEndThatWasNotSentIsAViolation() throws {
        let (peer, stream) = try sender()
        #expect(violation { try peer.hear(.ack(Ack(stream: 1, received: 10, credit: 20, fin: true))) } != nil)
        let (other, ended) = try sender()
        other.session.finish(ended, now: other.now)
        #expect(violation { try other.hear(.ack(Ack(stream: 1, received: 10, credit: 20, fin: true))) } != nil)
        _ = (peer, stream)
    }

    @Test func theEndIsAcknowledgedWithEverythingBeforeIt() throws {
        let (peer, stream) = try sender()
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        let fault = violation { try peer.hear(.ack(Ack(stream: 1, received: 9, credit: 20, fin: true))) }
        #expect(fault?.description == "stream 1: acknowledges an end that was not sent")
    }

    @Test func aRepeatedEndOfAckIsHarmless() throws {
        let (peer, stream) = try sender()
        peer.session.finish(stream, now: peer.now)
        _ = peer.said()
        let ack = Frame.ack(Ack(stream: 1, received: 10, credit: 20, fin: true))
        try peer.hear(ack, ack)
        #expect(!stream.isGone && peer.events().isEmpty)
    }

    @Test func anAckOfAResetThatWasNotSentIsAViolation() throws {
        let (peer, _) = try sender()
        #expect(violation { try peer.hear(.ack(Ack(stream: 1, received: 0, credit: 0, reset: true))) } != nil)
    }

    // MARK: What the peer sends

    @Test func repeatsAreDroppedAndTheirRestIsTaken() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen(first: [0, 1, 2, 3])
        try peer.hear(.data(2, at: 0, [0, 1, 2, 3]), .data(2, at: 2, [2, 3, 4, 5]))
        try peer.hear(.data(2, at: 6, [6]), .data(2, at: 1, [1]))
        #expect(peer.taken[2] == [0, 1, 2, 3, 4, 5, 6])
    }

    @Test func whatComesAheadOfAGapWaitsForIt() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [0])
        try peer.hear(.data(2, at: 2, [2]), .data(2, at: 5, [5], fin: true), .data(2, at: 2, [2, 3]))
        #expect(peer.taken[2] == [0] && stream.bytesReceived == 1 && !stream.receiveEnded)
        try peer.hear(.data(2, at: 1, [1]))
        #expect(peer.taken[2] == [0, 1, 2, 3] && stream.bytesReceived == 4)
        try peer.hear(.data(2, at: 3, [3, 4]))
        #expect(peer.taken[2] == [0, 1, 2, 3, 4, 5] && stream.isDelivered)
        #expect(peer.pool.inUse == 0)
    }

    /// What is sent again is cut differently: it may close a gap, cover what lies behind that, and end in what lies behind
    /// the next one.
    @Test func whatClosesTwoGapsAtOnceAndEndsInTheMiddleJoinsAll() throws {
        let peer = try ScriptedPeer()
        let stream = try peer.hearOpen(first: [0])
        try peer.hear(.data(2, at: 2, [2]), .data(2, at: 5, [5, 6, 7], fin: true))
        try peer.hear(.data(2, at: 1, [1, 2, 3, 4, 5]))
        #expect(peer.taken[2] == [0, 1, 2, 3, 4, 5, 6, 7] && stream.isDelivered)
        #expect(peer.pool.inUse == 0)
    }

    /// A reader that takes nothing finds all of it in order later.
    @Test func whatComesAheadOfAGapIsKeptInOrder() throws {
        let peer = try ScriptedPeer()
        peer.take = { min($0, 1) }
        let stream = try peer.hearOpen()
        try peer.hear(.data(2, at: 70_000, [UInt8](repeating: 7, count: 10_000)))
        try peer.hear(.data(2, at: 0, [UInt8](repeating: 3, count: 60_000)))
        #expect(stream.undelivered == 59_999)
        try peer.hear(.data(2, at: 60_000, [UInt8](repeating: 5, count: 10_000)))
        #expect(stream.undelivered == 79_999)
        let bytes = peer.session.read(stream, pieces: 16) { $0.flatMap { Array(UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len)) } }
        let expected = [(3, 59_999), (5, 10_000), (7, 10_000)].flatMap { [UInt8](repeating: $0.0, count: $0.1) }
        #expect(bytes == expected)
    }

    /// The end does not move, whatever comes in which order.
    @Test func anEndBeforeWhatCameAheadIsAViolation() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen(first: [0])
        try peer.hear(.data(2, at: 5, [5]))
        #expect(violation { try peer.hear(.data(2, at: 1, [1], fin: true)) } != nil)
    }

    @Test func aPeerThatLeavesGapsWithoutEndIsStopped() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen(first: [0])
        var ranges: UInt64 = 0
        let fault = violation {
            for n: UInt64 in 1..<10_000 {
                try peer.hear(.data(2, at: 2 * n, [1]))
                ranges = n
            }
        }
        // What is left of 512 KiB of credit allows for 15 more than the least.
        #expect(ranges == 8192 + 15)
        #expect(fault?.description == "stream 2: more than 8207 gaps")
    }

    /// Of frames as large as they may be, a large window holds many.
    @Test func aLargeWindowMayHaveMoreGaps() throws {
        var window = ReceiveWindow(now: 0)
        window.grow(by: 64 << 20)
        var half = ReceiveHalf(pool: ChunkPool(), window: window)
        let byte: [UInt8] = [1]
        try byte.withUnsafeBytes { byte in
            for n: UInt64 in 1...10_000 { _ = try half.accept(stream: 1, offset: 6500 * n, payload: byte, fin: false) }
        }
        #expect(half.received == 0)
    }

    /// A stream of small frames whose oldest is late on another lane would reach the peer's limit of gaps.
    @Test func aSenderMakesLargerFramesBeforeThereAreTooManyGaps() throws {
        let peer = try ScriptedPeer(initialCredit: 1 << 30)
        let stream = peer.open()
        _ = peer.said()
        try peer.hear(.ack(Ack(stream: 1, received: 1, credit: 1 << 30)))
        let lanes = [peer.lane, try peer.rejoin()]
        _ = peer.events()
        var small = 0, largest = 0
        for n in 0..<10_000 {
            peer.write(stream, [UInt8](repeating: 1, count: 16))
            for case .data(_, _, let payload, _) in peer.said(on: lanes[n % 2]) {
                small += payload.count == 16 ? 1 : 0
                largest = max(largest, payload.count)
            }
        }
        #expect(small == 4096 && largest > 60_000)
        // What waits goes out once the late ones have arrived.
        try peer.hear(.ack(Ack(stream: 1, received: stream.send.sent, credit: 1 << 30)))
        #expect(peer.said().contains { if case .data = $0 { true } else { false } })
        #expect(stream.send.unsent == 0)
    }

    @Test func dataBeyondTheCreditIsAViolation() throws {
        let peer = try ScriptedPeer(streamWindow: 64 << 10)
        peer.take = { _ in 0 }
        try peer.hearOpen()
        let all = [UInt8](repeating: 1, count: 64 << 10)
        try peer.hear(.data(2, at: 0, all))
        let fault = violation { try peer.hear(.data(2, at: 65536, [1])) }
        #expect(fault?.description == "stream 2: sent up to 65537, credit ends at 65536")
    }

    @Test(arguments: [UInt64(Int64.max), .max - 3, .max])
    func offsetsAtTheEndOfNumbersAreAViolation(offset: UInt64) throws {
        for count in [1, 4, 100] {
            let peer = try ScriptedPeer()
            try peer.hearOpen()
            #expect(violation { try peer.hear(.data(2, at: offset, [UInt8](repeating: 0, count: count))) } != nil)
        }
    }

    @Test func dataBehindTheEndIsAViolation() throws {
        for frame in [Frame.data(2, at: 3, [9]), .data(2, at: 2, [2, 9]), .data(2, at: 3, [9], fin: true)] {
            let peer = try ScriptedPeer()
            try peer.hearOpen(first: [0, 1, 2], fin: true)
            #expect(violation { try peer.hear(frame) }?.description == "stream 2: offset 4 contradicts its end at 3")
        }
    }

    @Test func anEndInFrontOfTheEndIsAViolation() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen(first: [0, 1, 2], fin: true)
        let fault = violation { try peer.hear(.data(2, at: 0, [0], fin: true)) }
        #expect(fault?.description == "stream 2: offset 1 contradicts its end at 3")
        let other = try ScriptedPeer()
        try other.hearOpen(first: [0, 1, 2])
        let early = violation { try other.hear(.data(2, at: 0, [0], fin: true)) }
        #expect(early?.description == "stream 2: ends at 1, before 3, which has arrived")
    }

    @Test func repeatsOfTheEndAreToldOnce() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen(first: [0, 1], fin: true)
        try peer.hear(.data(2, at: 0, [0, 1], fin: true), .data(2, at: 2, fin: true), .data(2, at: 1, [1]))
        #expect(peer.events() == ["opened 2", "ended 2"])
    }

    // MARK: What is acknowledged

    @Test func anOpenIsAnsweredWithCreditAtOnce() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen()
        #expect(peer.said() == [.ack(Ack(stream: 2, received: 0, credit: UInt64(ReceiveWindow.initial)))])
    }

    @Test func aLittleIsAcknowledgedAfterADelay() throws {
        let peer = try ScriptedPeer()
        try peer.hearOpen()
        _ = peer.said()
        try peer.hear(.data(2, at: 0, [0, 1, 2]))
        #expect(peer.said().isEmpty)
        #expect(peer.session.deadline <= peer.now + SessionConfiguration.ackDelay)
        peer.pass(SessionConfiguration.ackDelay)
        let acks = peer.said().filter { if case .ack = $0 { true } else { false } }
        #expect(acks == [.ack(Ack(stream: 2, received: 3, credit: UInt64(ReceiveWindow.initial + 3)))])
        peer.pass(SessionConfiguration.ackDelay)
        #expect(peer.said().isEmpty)
    }

    @Test func muchIsAcknowledgedAtOnce() throws {
        let peer = try ScriptedPeer()
        peer.take = { _ in 0 }
        try peer.hearOpen()
        _ = peer.said()
        try peer.hear(.data(2, at: 0, [UInt8](repeating: 0, count: 128 << 10)))
        #expect(peer.said() == [.ack(Ack(stream: 2, received: 128 << 10, credit: UInt64(ReceiveWindow.initial)))])
    }

    @Test func theEndIsAcknowledgedOnceEverythingIsDelivered() throws {
        let peer = try ScriptedPeer()
        peer.take = { _ in 0 }
        let stream = try peer.hearOpen()
        _ = peer.said()
        try peer.hear(.data(2, at: 0, [0], fin: true))
        #expect(peer.said().isEmpty && !stream.isDelivered && !stream.isGone)
        peer.session.consume(stream, 1, now: peer.now)
        #expect(peer.said() == [.ack(Ack(stream: 2, received: 1, credit: UInt64(ReceiveWindow.initial), fin: true))])
    }

    @Test func creditFollowsWhatTheLocalSideTakes() throws {
        let peer = try ScriptedPeer(streamWindow: 64 << 10)
        peer.take = { _ in 0 }
        let stream = try peer.hearOpen()
        try peer.hear(.data(2, at: 0, [UInt8](repeating: 0, count: 64 << 10)))
        _ = peer.said()
        peer.session.consume(stream, (32 << 10) - 1, now: peer.now)
        #expect(peer.said().isEmpty)
        peer.session.consume(stream, 1, now: peer.now)
        #expect(peer.said() == [.ack(Ack(stream: 2, received: 64 << 10, credit: 96 << 10))])
    }
}
