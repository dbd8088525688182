import CulvertIO

/// Connects to local targets, each target's connections one after the other: what accepts them tells them apart by
/// their order. Belongs to one loop.
final class TargetQueue {
    private let loop: EventLoop
    private var waiting: [Endpoint: [PendingConnect]] = [:]

    init(loop: EventLoop) { self.loop = loop }

    /// - Parameter completion: called once, later, unless cancelled.
    func connect(
        to target: Endpoint, timeout: Duration,
        completion: @escaping (consuming Result<Descriptor, IOError>) -> Void
    ) -> PendingConnect {
        let pending = PendingConnect(queue: self, target: target, timeout: timeout, completion: completion)
        waiting[target, default: []].append(pending)
        if waiting[target]!.count == 1 { start(pending) }
        return pending
    }

    private func start(_ pending: PendingConnect) {
        pending.connector = Connector(to: pending.target, loop: loop, timeout: pending.timeout) { result in
            let completion = pending.completion.take()
            self.finish(pending)
            completion?(result)
        }
    }

    fileprivate func finish(_ pending: PendingConnect) {
        guard var queue = waiting[pending.target], let index = queue.firstIndex(where: { $0 === pending }) else { return }
        queue.remove(at: index)
        waiting[pending.target] = queue.isEmpty ? nil : queue
        if index == 0, let next = queue.first { start(next) }
    }
}

/// One connection asked of a `TargetQueue`.
final class PendingConnect {
    fileprivate let target: Endpoint
    fileprivate let timeout: Duration
    fileprivate var completion: ((consuming Result<Descriptor, IOError>) -> Void)?
    fileprivate var connector: Connector?
    private let queue: TargetQueue

    fileprivate init(
        queue: TargetQueue, target: Endpoint, timeout: Duration,
        completion: @escaping (consuming Result<Descriptor, IOError>) -> Void
    ) {
        self.queue = queue
        self.target = target
        self.timeout = timeout
        self.completion = completion
    }

    func cancel() {
        completion = nil
        connector?.cancel()
        queue.finish(self)
    }
}
