import Synchronization

/// Ends one task's pause early. A notice that comes while nobody waits ends the next pause at once.
final class WakeUp: Sendable {
    private struct State {
        var pending = false
        var pauses: UInt64 = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    func notify() {
        state.withLock { state in
            state.pending = state.waiter == nil
            return state.waiter.take()
        }?.resume()
    }

    /// Returns after a notice or after `limit`. One task at a time may wait.
    func wait(upTo limit: Duration) async {
        let pause = state.withLock { state in
            precondition(state.waiter == nil, "two tasks wait for one WakeUp")
            state.pauses += 1
            return state.pauses
        }
        let timer = Task {
            try await Task.sleep(for: limit)
            self.end(pause)
        }
        await withCheckedContinuation { continuation in
            let over = state.withLock { state in
                if !state.pending { state.waiter = continuation }
                defer { state.pending = false }
                return state.pending
            }
            if over { continuation.resume() }
        }
        timer.cancel()
    }

    /// Ends the pause of that number and no later one.
    private func end(_ pause: UInt64) {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.pauses == pause else { return nil }
            if state.waiter == nil { state.pending = true }
            return state.waiter.take()
        }?.resume()
    }
}
