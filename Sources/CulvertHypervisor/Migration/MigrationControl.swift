import Synchronization

/// What the world wants of a running migration: that it stop, because somebody said so or because its time is up.
final class MigrationControl: Sendable {
    private struct State {
        var cancelled: String?
        var expired: String?
        var handler: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// Why a person or a signal wants it to stop.
    var cancelled: String? { state.withLock { $0.cancelled } }
    /// Which time has run out.
    var expired: String? { state.withLock { $0.expired } }
    /// Asked for more than once, or by a limit after that.
    var isPressing: Bool { state.withLock { $0.cancelled != nil && $0.expired != nil } }
    /// Either.
    var stop: String? { state.withLock { $0.cancelled ?? $0.expired } }

    /// The second time it counts as a time that has run out, too: somebody will not wait for what cannot be cancelled.
    func cancel(_ reason: String) {
        request { state in
            if state.cancelled != nil { state.expired = state.expired ?? "\(reason) again" }
            state.cancelled = state.cancelled ?? reason
        }
    }

    /// To be cancelled when the migration is over; nil if there is no limit.
    func expire(after limit: Duration?) -> Task<Void, any Error>? {
        guard let limit else { return nil }
        return Task {
            try await Task.sleep(for: limit)
            self.expire("it is not done after \(HumanText.time(limit))")
        }
    }

    /// Runs `body` in a task that a wish to stop cancels; `error` makes an error of why it was stopped.
    func untilStopped<Failure: Error>(
        error stopped: (String) -> Failure, _ body: @escaping @Sendable () async throws(Failure) -> Void
    ) async throws(Failure) {
        let task = Task { () async -> Result<Void, Failure> in
            do throws(Failure) { return .success(try await body()) } catch { return .failure(error) }
        }
        onStop { task.cancel() }
        let result = await task.value
        if let reason = stop { throw stopped(reason) }
        try result.get()
    }

    func expire(_ reason: String) { request { $0.expired = $0.expired ?? reason } }

    /// Calls `handler` at each request, and at once if there has been one. Replaces the handler before.
    func onStop(_ handler: @escaping @Sendable () -> Void) {
        let already = state.withLock { state in
            state.handler = handler
            return state.cancelled != nil || state.expired != nil
        }
        if already { handler() }
    }

    private func request(_ change: (inout State) -> Void) {
        state.withLock { state in
            change(&state)
            return state.handler
        }?()
    }
}
