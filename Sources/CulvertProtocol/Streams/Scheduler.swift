/// A stream's place in the scheduler.
struct Schedule {
    enum Place { case none, fresh, backlogged, pinned }
    var place = Place.none
    /// Bytes it may send before it goes behind the others.
    var deficit = 0
    /// When it last left, it had more to send than its credit allowed.
    var isBulk = false
}

/// Which stream sends next: deficit round robin in which a stream that had nothing to send goes ahead of those that
/// always have (as in fq_codel, RFC 8290 section 4). So requests and replies overtake bulk without being told apart.
struct Scheduler {
    private var fresh = Fifo<SessionStream>()
    private var backlogged = Fifo<SessionStream>()
    /// Cannot take the lane that asked last.
    private var pinned = Fifo<SessionStream>()

    var hasPinned: Bool { !pinned.isEmpty }

    /// Streams that may have something to send.
    var count: Int { fresh.count + backlogged.count }

    /// Streams that it holds.
    var queued: Int { count + pinned.count }

    var isEmpty: Bool { fresh.isEmpty && backlogged.isEmpty }

    /// Bytes of one turn. A control stream falls behind bulk only once it has used up a longer one without a pause.
    private static func quantum(_ stream: SessionStream) -> Int {
        stream.priority == .control ? 4 * Chunk.size : Chunk.size
    }

    mutating func add(_ stream: SessionStream) {
        guard stream.schedule.place == .none, stream.hasFrame else { return }
        stream.schedule.deficit = Self.quantum(stream)
        // What only waited for credit is no newcomer: of many bulk streams, some get credit all the time.
        if stream.schedule.isBulk && stream.priority != .control {
            demote(stream)
        } else {
            stream.schedule.place = .fresh
            fresh.append(stream)
        }
    }

    /// The stream whose turn it is among those that may take the lane that asks; it stays at its place. Charge it for what it
    /// sends.
    mutating func next(where mayTakeLane: (SessionStream) -> Bool) -> SessionStream? {
        while true {
            let fromFresh = !fresh.isEmpty
            guard let stream = fromFresh ? fresh.first : backlogged.first else { return nil }
            guard mayTakeLane(stream) else {
                _ = fromFresh ? fresh.popFirst() : backlogged.popFirst()
                stream.schedule.place = .pinned
                pinned.append(stream)
                continue
            }
            if stream.hasFrame && stream.schedule.deficit > 0 { return stream }
            _ = fromFresh ? fresh.popFirst() : backlogged.popFirst()
            if stream.hasFrame {
                stream.schedule.deficit += Self.quantum(stream)
                demote(stream)
            } else if fromFresh && !backlogged.isEmpty && stream.priority != .control {
                // One round behind the others, so that speaking in small pieces is no way to the front.
                demote(stream)
            } else {
                stream.schedule.place = .none
                stream.schedule.isBulk = stream.send.unsent > 0
            }
        }
    }

    /// Forgets streams that are over.
    mutating func removeGone() {
        fresh.removeAll(where: \.isGone)
        backlogged.removeAll(where: \.isGone)
        pinned.removeAll(where: \.isGone)
    }

    /// Those that were passed over are considered again.
    mutating func unpin() {
        while let stream = pinned.popFirst() {
            stream.schedule.place = .none
            add(stream)
        }
    }

    private mutating func demote(_ stream: SessionStream) {
        stream.schedule.place = .backlogged
        backlogged.append(stream)
    }
}
