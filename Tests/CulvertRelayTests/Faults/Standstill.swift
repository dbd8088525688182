import Foundation
import Synchronization

/// How long this process has stood still, as a thread sees it that does nothing but look at the clock.
final class Standstill: Sendable {
    private struct State {
        var looked = ContinuousClock.now
        var longest = Duration.zero
        var isOver = false

        mutating func look() {
            let now = ContinuousClock.now
            longest = max(longest, now - looked)
            looked = now
        }
    }

    private let state = Mutex(State())

    init() {
        Thread.detachNewThread { [self] in
            while state.withLock({ state in
                state.look()
                return !state.isOver
            }) { usleep(10_000) }
        }
    }

    /// Ends its thread.
    func end() { state.withLock { $0.isOver = true } }

    /// The longest time between two looks since this was last asked for.
    func take() -> Duration {
        state.withLock { state in
            state.look()
            defer { state.longest = .zero }
            return state.longest
        }
    }
}
