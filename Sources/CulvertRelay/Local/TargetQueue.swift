import CulvertIO
import Glibc

/// Connects to local targets, each target's connections one after the other: what accepts them tells them apart by
/// their order. Who waits behind others does not wait longer than alone. Belongs to one loop.
final class TargetQueue {
    /// Those who wait for one target behind another that is being connected, in order. Some may be over.
    private struct Line {
        private var asking: [PendingConnect] = []
        private var next = 0
        private var cancelled = 0

        /// One that waits is over. Those go once they outweigh the rest.
        mutating func noteCancelled() {
            cancelled += 1
            guard cancelled > 32, cancelled * 2 > asking.count - next else { return }
            asking = asking[next...].filter { if case .waiting = $0.state { true } else { false } }
            next = 0
            cancelled = 0
        }

        mutating func append(_ pending: PendingConnect) { asking.append(pending) }

        mutating func popFirst() -> PendingConnect? {
            guard next < asking.count else { return nil }
            defer {
                next += 1
                // Once the past outweighs the rest, so that each is moved once on average.
                if next > 32, next * 2 > asking.count {
                    asking.removeFirst(next)
                    next = 0
                }
            }
            return asking[next]
        }
    }

    private let loop: EventLoop
    private var lines: [Endpoint: Line] = [:]

    init(loop: EventLoop) { self.loop = loop }

    /// - Parameters:
    ///   - timeout: from now, whoever comes before; then the error is ETIMEDOUT.
    ///   - completion: called once, later, unless cancelled.
    func connect(
        to target: Endpoint, timeout: Duration,
        completion: @escaping (consuming Result<Descriptor, IOError>) -> Void
    ) -> PendingConnect {
        let pending = PendingConnect(to: target, in: self, timeout: timeout, completion)
        if lines[target] == nil {
            lines[target] = Line()
            start(pending, timeout: timeout)
        } else {
            lines[target]!.append(pending)
            pending.state = .waiting(until: loop.now + timeout.nanoseconds, loop.schedule(after: timeout) {
                pending.end(.failure(Self.lateness(pending)))
            })
        }
        return pending
    }

    private func start(_ pending: PendingConnect, timeout: Duration, hasWaited: Bool = false) {
        pending.state = .connecting(Connector(to: pending.target, loop: loop, timeout: timeout) { result in
            self.startNext(pending.target)
            switch consume result {
            case .failure(let error) where error.errno == ETIMEDOUT && hasWaited:
                pending.end(.failure(Self.lateness(pending)))
            case let result: pending.end(result)
            }
        })
    }

    private func startNext(_ target: Endpoint) {
        while let pending = lines[target]?.popFirst() {
            guard case .waiting(let deadline, let limit) = pending.state else { continue }
            loop.cancel(limit)
            return start(pending, timeout: .nanoseconds(Int64(max(deadline, loop.now) - loop.now)), hasWaited: true)
        }
        lines[target] = nil
    }

    fileprivate func cancel(_ pending: PendingConnect) {
        switch pending.state {
        case .waiting(_, let limit):
            loop.cancel(limit)
            pending.state = .over
            lines[pending.target]?.noteCancelled()
        case .connecting(let connector):
            connector.cancel()
            startNext(pending.target)
        case .over: break
        }
    }

    private static func lateness(_ pending: PendingConnect) -> IOError {
        IOError(
            errno: ETIMEDOUT, operation: "connect to \(pending.target)",
            detail: "no answer within \(pending.timeout) to this one and to those that asked before")
    }
}

/// One connection asked of a `TargetQueue`.
final class PendingConnect {
    fileprivate enum State {
        case waiting(until: UInt64, TimerHandle)
        case connecting(Connector)
        case over
    }

    fileprivate let target: Endpoint
    fileprivate let timeout: Duration
    fileprivate var state = State.over
    private var completion: ((consuming Result<Descriptor, IOError>) -> Void)?
    private let queue: TargetQueue

    fileprivate init(
        to target: Endpoint, in queue: TargetQueue, timeout: Duration,
        _ completion: @escaping (consuming Result<Descriptor, IOError>) -> Void
    ) {
        self.target = target
        self.queue = queue
        self.timeout = timeout
        self.completion = completion
    }

    fileprivate func end(_ result: consuming Result<Descriptor, IOError>) {
        state = .over
        completion.take()?(result)
    }

    /// Idempotent.
    func cancel() {
        completion = nil
        queue.cancel(self)
        state = .over
    }
}
