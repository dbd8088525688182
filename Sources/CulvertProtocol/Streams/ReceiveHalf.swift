import Glibc

/// A stream's direction from the peer: puts bytes in order, keeps what the local side has not taken, grants credit.
///
/// Invariant: `queue.start ≤ queue.end ≤ received ≤ credit`. Bytes between `queue.end` and `received` are on offer to the
/// local side at this moment; `settle` says what became of them.
struct ReceiveHalf: ~Copyable {
    var queue: ByteQueue
    private(set) var received: UInt64 = 0
    /// What the peer was told that it may send.
    private(set) var credit: UInt64
    /// Where the direction ends, once that is known.
    private(set) var final: UInt64?
    var window: ReceiveWindow
    /// What the last ACK said.
    private var acknowledged: UInt64 = 0
    private var endAcknowledged = false
    private var endTold = false

    init(pool: ChunkPool, window: ReceiveWindow) {
        queue = ByteQueue(pool: pool)
        credit = UInt64(window.size)
        self.window = window
    }

    /// Everything has arrived.
    var isComplete: Bool { final == received }
    /// Everything has been taken by the local side.
    var isDelivered: Bool { final == queue.start && queue.isEmpty }
    /// The peer has been told that everything was delivered.
    var isClosed: Bool { endAcknowledged }

    /// Memory it holds, or may come to hold by the credit that was granted.
    var claim: Int { isComplete ? min(window.size, queue.allocated) : window.size }

    /// Lets go of what has arrived and not been taken.
    mutating func discard() { queue.release(upTo: queue.end) }

    /// - Returns: the bytes of `payload` that are new. They must be settled before the next call.
    mutating func accept(
        stream: UInt64, offset: UInt64, payload: UnsafeRawBufferPointer, fin: Bool
    ) throws(ProtocolViolation) -> UnsafeRawBufferPointer {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(payload.count))
        guard !overflow, end <= credit else {
            throw ProtocolViolation("stream \(stream): sent up to \(end), credit ends at \(credit)")
        }
        guard offset <= received else {
            throw ProtocolViolation("stream \(stream): offset \(offset) leaves a gap behind \(received)")
        }
        if let final, end > final || (fin && end != final) {
            throw ProtocolViolation("stream \(stream): offset \(end) contradicts its end at \(final)")
        }
        if fin {
            guard end >= received else {
                throw ProtocolViolation("stream \(stream): ends at \(end), before \(received), which has arrived")
            }
            final = end
        }
        guard end > received else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        let fresh = UnsafeRawBufferPointer(rebasing: payload[Int(received - offset)...])
        received = end
        return fresh
    }

    /// The first `taken` of the bytes on offer went to the local side; the rest is kept.
    mutating func settle(_ offered: UnsafeBufferPointer<iovec>, taken: Int) {
        var skip = taken
        if taken > 0 { queue.skip(to: queue.end + UInt64(taken)) }
        for piece in offered {
            let gone = min(skip, piece.iov_len)
            skip -= gone
            queue.append(UnsafeRawBufferPointer(start: piece.iov_base! + gone, count: piece.iov_len - gone))
        }
    }

    /// True once: the local side is to be told that everything has arrived.
    mutating func tellEnd() -> Bool {
        guard isComplete, !endTold else { return false }
        endTold = true
        return true
    }

    /// Whether an ACK should go out without delay: enough has arrived, credit runs low, or all was delivered.
    var ackIsUrgent: Bool {
        received - acknowledged >= 128 << 10 || creditIsDue || (isDelivered && !endAcknowledged)
    }

    var ackIsDue: Bool { received > acknowledged || ackIsUrgent }

    private var creditIsDue: Bool {
        final == nil && queue.start + UInt64(window.size) >= credit + UInt64(window.size / 2)
    }

    /// The ACK to send now, already counted as sent.
    mutating func acknowledge(stream: UInt64) -> Ack {
        if final == nil { credit = max(credit, queue.start + UInt64(window.size)) }
        acknowledged = received
        endAcknowledged = isDelivered
        return Ack(stream: stream, received: received, credit: credit, fin: isDelivered)
    }
}
