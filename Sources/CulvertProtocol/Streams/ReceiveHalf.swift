import Glibc

/// A stream's direction from the peer: puts bytes in order, keeps what the local side has not taken, grants credit.
///
/// Invariant: `queue.start ≤ queue.end ≤ received ≤ credit`. Bytes between `queue.end` and `received` are on offer to the
/// local side at this moment; `settle` says what became of them. What arrived ahead of a gap lies in the queue behind its
/// end, and `ahead` says where. What is dropped lies nowhere, and counts all the same.
struct ReceiveHalf: ~Copyable {
    /// Ranges ahead of a gap that are kept, twice what a sender may cause by `SendHalf.mostFlights` and full chunks. More would
    /// be a peer that sends single bytes to waste memory and time.
    private var mostGaps: Int { 2 * SendHalf.mostFlights + Int(credit - queue.start) / (Chunk.size / 2) }

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
    private var ahead = RangeList()
    /// The local side takes no more.
    private(set) var isDropping = false
    /// The next ACK repeats what an earlier one said: that one may be lost.
    private var mustRepeat = false

    init(pool: ChunkPool, window: ReceiveWindow) {
        queue = ByteQueue(pool: pool)
        credit = UInt64(window.size)
        self.window = window
    }

    /// Everything has arrived.
    var isComplete: Bool { final == received }
    /// Everything has been taken by the local side. What is dropped never was.
    var isDelivered: Bool { final == queue.start && queue.isEmpty && !isDropping }
    /// The peer has been told that everything was delivered.
    var isClosed: Bool { endAcknowledged }

    /// Memory it holds, or may come to hold by the credit that was granted.
    var claim: Int {
        // Credit that was granted stays granted when the window shrinks.
        let granted = max(window.size, Int(credit - queue.start))
        return isComplete ? min(granted, queue.allocated) : granted
    }

    /// Lets go of what has arrived and not been taken, and of what will arrive.
    mutating func discard() {
        if !isDelivered { isDropping = true }
        queue.release(upTo: queue.end)
        queue.forgetAhead()
    }

    /// Nothing more will arrive, so no gap will be closed.
    mutating func giveUpGaps() {
        ahead.removeAll()
        queue.forgetAhead()
    }

    /// - Returns: the bytes of `payload` that come next. They must be settled before the next call.
    mutating func accept(
        stream: UInt64, offset: UInt64, payload: UnsafeRawBufferPointer, fin: Bool
    ) throws(ProtocolViolation) -> UnsafeRawBufferPointer {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(payload.count))
        guard !overflow, end <= credit else {
            throw ProtocolViolation("stream \(stream): sent up to \(end), credit ends at \(credit)")
        }
        if let final, end > final || (fin && end != final) {
            throw ProtocolViolation("stream \(stream): offset \(end) contradicts its end at \(final)")
        }
        let knewEnd = final != nil
        if fin {
            let arrived = max(received, ahead.last?.upperBound ?? 0)
            guard end >= arrived else {
                throw ProtocolViolation("stream \(stream): ends at \(end), before \(arrived), which has arrived")
            }
            final = end
        }
        guard end > received else {
            // The peer does not know that this has arrived.
            if !payload.isEmpty || knewEnd { mustRepeat = true }
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        guard offset <= received else {
            try keep(payload, at: offset, stream: stream)
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        let fresh = UnsafeRawBufferPointer(rebasing: payload[Int(received - offset)...])
        received = end
        return fresh
    }

    /// Puts what another lane is late with aside.
    private mutating func keep(_ payload: UnsafeRawBufferPointer, at offset: UInt64, stream: UInt64) throws(ProtocolViolation) {
        guard !payload.isEmpty else { return }
        if !isDropping { queue.place(payload, at: offset) }
        ahead.insert(offset..<offset + UInt64(payload.count))
        guard ahead.count <= mostGaps else {
            throw ProtocolViolation("stream \(stream): more than \(mostGaps) gaps")
        }
    }

    /// What was kept and now follows without a gap becomes part of the queue.
    /// - Returns: whether there was any.
    private mutating func absorb() -> Bool {
        ahead.remove(upTo: received)
        guard let first = ahead.first, first.lowerBound == received else { return false }
        received = first.upperBound
        ahead.remove(upTo: received)
        if isDropping { queue.skip(to: received) } else { queue.extend(to: received) }
        return true
    }

    /// The first `taken` of the bytes on offer went to the local side; the rest is kept.
    /// - Returns: whether bytes that were ahead of a gap are next for the local side.
    mutating func settle(_ offered: UnsafeBufferPointer<iovec>, taken: Int) -> Bool {
        var skip = taken
        if taken > 0 { queue.skip(to: queue.end + UInt64(taken)) }
        for piece in offered {
            let gone = min(skip, piece.iov_len)
            skip -= gone
            queue.append(UnsafeRawBufferPointer(start: piece.iov_base! + gone, count: piece.iov_len - gone))
        }
        let nothingWaits = queue.isEmpty
        return absorb() && nothingWaits
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

    var ackIsDue: Bool { received > acknowledged || mustRepeat || ackIsUrgent }

    /// An ACK may have been lost.
    mutating func repeatAck() { mustRepeat = true }

    private var creditIsDue: Bool {
        final == nil && queue.start + UInt64(window.size) >= credit + UInt64(window.size / 2)
    }

    /// The ACK to send now, already counted as sent.
    mutating func acknowledge(stream: UInt64) -> Ack {
        if final == nil { credit = max(credit, queue.start + UInt64(window.size)) }
        acknowledged = received
        mustRepeat = false
        endAcknowledged = isDelivered
        return Ack(stream: stream, received: received, credit: credit, fin: isDelivered)
    }
}
