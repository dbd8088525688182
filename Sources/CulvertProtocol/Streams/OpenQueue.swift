/// Keeps the opens of each service in the order in which they were asked for, while each waits a short time for its
/// first bytes: QEMU tells its channels apart by their order and by what they say first.
struct OpenQueue {
    private var services: [String: Fifo<SessionStream>] = [:]

    var isEmpty: Bool { services.isEmpty }

    mutating func add(_ stream: SessionStream) { services[stream.service, default: Fifo()].append(stream) }

    /// When the first of the waiting opens has waited long enough.
    var deadline: UInt64? {
        services.values.compactMap { $0.first.flatMap(Self.deadline) }.min()
    }

    /// Takes those that may go out now off the queue of `service`, in order.
    mutating func release(_ service: String, now: UInt64, _ go: (SessionStream) -> Void) {
        guard var queue = services.removeValue(forKey: service) else { return }
        while let head = queue.first {
            // Not waiting any more: it was reset before its OPEN went out.
            if let deadline = Self.deadline(head) {
                guard head.hasSpoken || deadline <= now else { break }
                go(head)
            }
            _ = queue.popFirst()
        }
        if !queue.isEmpty { services[service] = queue }
    }

    mutating func releaseDue(now: UInt64, _ go: (SessionStream) -> Void) {
        for service in Array(services.keys) { release(service, now: now, go) }
    }

    private static func deadline(_ stream: SessionStream) -> UInt64? {
        if case .waiting(let deadline) = stream.state { deadline } else { nil }
    }
}
