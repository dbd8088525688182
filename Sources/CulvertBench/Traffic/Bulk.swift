import BenchSockets
import Synchronization

/// Streams that send as fast as they are let.
struct Bulk {
    let route: any Route
    let pattern: Pattern
    let streams: Int
    let extent: BenchPlan.Extent

    /// What other threads see of it, and how they end it early.
    final class Gauge: Sendable {
        private let count = Atomic<Int>(0)
        private let ended = Atomic<Bool>(false)

        /// Bytes that the near relay has taken.
        var sent: Int { count.load(ordering: .relaxed) }
        var hasEnded: Bool { ended.load(ordering: .relaxed) }
        func add(_ bytes: Int) { count.add(bytes, ordering: .relaxed) }
        func end() { ended.store(true, ordering: .relaxed) }
    }

    struct Outcome {
        /// Delivered, as the far end counted them.
        var bytes: Int
        /// From the first byte sent to the last answer that everything has arrived.
        var seconds: Double
    }

    func run(_ gauge: Gauge) throws -> Outcome {
        let connections = try (0 ..< streams).map { _ in try route.connect(.count) }
        let started = Clock.now
        let senders = connections.enumerated().map { index, connection in
            Worker { [self] in try send(connection, share(of: index), from: started, gauge) }
        }
        var delivered = 0
        var failure: (any Error)?
        for sender in senders {
            do {
                delivered += try sender.value()
            } catch {
                gauge.end()
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return Outcome(bytes: delivered, seconds: Clock.now - started)
    }

    /// Bytes that one of the streams sends at most.
    private func share(of index: Int) -> Int {
        guard case .bytes(let total) = extent else { return .max }
        return total / streams + (index < total % streams ? 1 : 0)
    }

    private func send(_ connection: Connection, _ most: Int, from started: Double, _ gauge: Gauge) throws -> Int {
        let deadline: Double
        if case .time(let duration) = extent { deadline = started + duration / .seconds(1) } else { deadline = .infinity }
        var sent = 0
        // Something in any case: a sender may begin when its time is over, and a run of nothing has no rate.
        while sent < most, !gauge.hasEnded, sent == 0 || Clock.now < deadline {
            let piece = pattern.piece(at: sent, atMost: min(BenchSize.block, most - sent))
            try connection.socket.send(piece)
            sent += piece.count
            gauge.add(piece.count)
        }
        try connection.socket.finishSending()
        let delivered = Int(try connection.answer().count)
        guard delivered == sent else { throw BenchError("\(delivered) bytes of \(sent) arrived") }
        return delivered
    }
}
