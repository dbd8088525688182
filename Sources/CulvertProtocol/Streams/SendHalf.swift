/// A stream's direction towards the peer: bytes wait here until they are sent, and stay until they are acknowledged.
///
/// Invariant: `queue.start ≤ sent ≤ queue.end` and `sent ≤ credit`; `queue.start` is what the peer has acknowledged.
struct SendHalf: ~Copyable {
    enum End { case open, wanted, sent, acknowledged }

    var queue: ByteQueue
    /// Offset of the next byte to send.
    private(set) var sent: UInt64 = 0
    /// Bytes before this offset may be sent.
    private(set) var credit: UInt64
    private(set) var end = End.open

    init(pool: ChunkPool, credit: UInt64) {
        queue = ByteQueue(pool: pool)
        self.credit = credit
    }

    var unsent: Int { Int(queue.end - sent) }
    /// Bytes that may be sent now.
    var sendable: Int { Int(min(queue.end, credit) - sent) }
    /// The end may be told: it is wanted, and nothing is left in front of it.
    var endIsDue: Bool { end == .wanted && sent == queue.end }

    mutating func finish() {
        if end == .open { end = .wanted }
    }

    /// The next run of at most `limit` bytes, already counted as sent. Empty if there is nothing to send but the end.
    /// - Returns: `bytes` has `Chunk.headroom` writable bytes in front of it.
    mutating func take(limit: Int) -> (offset: UInt64, bytes: UnsafeMutableRawBufferPointer, fin: Bool) {
        let offset = sent
        let count = min(limit, sendable)
        let run = count > 0
            ? queue.contiguous(from: offset, limit: count) : UnsafeMutableRawBufferPointer(start: nil, count: 0)
        sent += UInt64(run.count)
        let fin = endIsDue
        if fin { end = .sent }
        return (offset, run, fin)
    }

    /// Positions that lie behind what is known are repeats and change nothing.
    mutating func acknowledge(_ ack: Ack) throws(ProtocolViolation) {
        guard ack.received <= sent else {
            throw ProtocolViolation("stream \(ack.stream): acknowledges \(ack.received), only \(sent) was sent")
        }
        guard !ack.fin || (end == .sent || end == .acknowledged) && ack.received == queue.end else {
            throw ProtocolViolation("stream \(ack.stream): acknowledges an end that was not sent")
        }
        if ack.received > queue.start { queue.release(upTo: ack.received) }
        credit = max(credit, ack.credit)
        if ack.fin { end = .acknowledged }
    }

    /// Lets go of everything, sent or not.
    mutating func discard() {
        sent = queue.end
        credit = max(credit, sent)
        queue.release(upTo: queue.end)
    }
}
