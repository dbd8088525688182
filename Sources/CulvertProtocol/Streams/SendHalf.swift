/// A stream's direction towards the peer: bytes wait here until they are sent, and stay until they are acknowledged.
///
/// Invariant: `queue.start ≤ sent ≤ queue.end` and `sent ≤ credit`; `queue.start` is what the peer has acknowledged. Every
/// offset in `queue.start ..< sent` is in flight on some lane or in `lost`.
struct SendHalf: ~Copyable {
    enum End { case open, wanted, sent, acknowledged }

    /// With so many ranges in flight, only full chunks go out: the peer has to remember each that is late.
    static let mostFlights = 4096

    /// Bytes that one lane took.
    private struct Flight {
        let lane: UInt32
        var range: Range<UInt64>
    }

    var queue: ByteQueue
    /// Offset of the next byte to send for the first time.
    private(set) var sent: UInt64 = 0
    /// Bytes before this offset may be sent.
    private(set) var credit: UInt64
    private(set) var end = End.open
    /// In the order in which they were sent, none of them twice. Those that were acknowledged may stay behind one that was not.
    private var flights = Fifo<Flight>()
    /// Sent on a lane that was lost or lags: to be sent again.
    private var lost = RangeList()
    /// The end was sent at least once.
    private var toldEnd = false

    init(pool: ChunkPool, credit: UInt64) {
        queue = ByteQueue(pool: pool)
        self.credit = credit
    }

    var unsent: Int { Int(queue.end - sent) }
    /// Whether there are bytes that may be sent now.
    var isSendable: Bool {
        let next = min(queue.end, credit)
        return !lost.isEmpty || next > sent && (flights.count < Self.mostFlights || next - sent >= UInt64(Chunk.capacity))
    }
    /// The end may be told: it is wanted, and nothing is left in front of it.
    var endIsDue: Bool { end == .wanted && sent == queue.end && lost.isEmpty }
    /// The peer has everything that was written.
    var isAcknowledged: Bool { queue.isEmpty }

    mutating func finish() {
        if end == .open { end = .wanted }
    }

    /// The next run of at most `limit` bytes, already counted as sent; what was lost comes first. Empty if there is nothing
    /// to send but the end.
    /// - Returns: `bytes` has `Chunk.headroom` writable bytes in front of it.
    mutating func take(limit: Int, lane: UInt32) -> (offset: UInt64, bytes: UnsafeMutableRawBufferPointer, fin: Bool) {
        let offset = lost.first?.lowerBound ?? sent
        let stop = lost.first?.upperBound ?? min(queue.end, credit)
        let run = stop > offset
            ? queue.contiguous(from: offset, limit: min(limit, Int(stop - offset)))
            : UnsafeMutableRawBufferPointer(start: nil, count: 0)
        let reached = offset + UInt64(run.count)
        note(offset..<reached, lane)
        lost.remove(upTo: reached)
        sent = max(sent, reached)
        let fin = endIsDue && reached == queue.end
        if fin {
            end = .sent
            toldEnd = true
        }
        return (offset, run, fin)
    }

    private mutating func note(_ range: Range<UInt64>, _ lane: UInt32) {
        guard !range.isEmpty else { return }
        let last = flights.count - 1
        if last >= 0, flights[last].lane == lane, flights[last].range.upperBound == range.lowerBound {
            flights[last].range = flights[last].range.lowerBound..<range.upperBound
        } else {
            flights.append(Flight(lane: lane, range: range))
        }
    }

    /// Positions that lie behind what is known are repeats and change nothing.
    mutating func acknowledge(_ ack: Ack) throws(ProtocolViolation) {
        guard ack.received <= sent else {
            throw ProtocolViolation("stream \(ack.stream): acknowledges \(ack.received), only \(sent) was sent")
        }
        guard !ack.fin || toldEnd && ack.received == queue.end else {
            throw ProtocolViolation("stream \(ack.stream): acknowledges an end that was not sent")
        }
        if ack.received > queue.start {
            queue.release(upTo: ack.received)
            while let first = flights.first, first.range.upperBound <= ack.received { _ = flights.popFirst() }
            lost.remove(upTo: ack.received)
        }
        credit = max(credit, ack.credit)
        if ack.fin { end = .acknowledged }
    }

    /// What this lane took and the peer has not acknowledged has to be sent again.
    mutating func lose(_ lane: UInt32) {
        for index in 0..<flights.count where flights[index].lane == lane {
            lost.insert(flights[index].range.clamped(to: queue.start..<UInt64.max))
        }
        flights.removeAll { $0.lane == lane }
        askForEnd()
    }

    /// Tells the end again if it is not acknowledged: the peer may be done with the stream and its answer lost.
    mutating func askForEnd() {
        if end == .sent { end = .wanted }
    }

    /// Lets go of everything, sent or not.
    mutating func discard() {
        sent = queue.end
        credit = max(credit, sent)
        queue.release(upTo: queue.end)
        flights = Fifo()
        lost.removeAll()
    }
}
