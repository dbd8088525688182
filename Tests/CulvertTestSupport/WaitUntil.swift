/// A condition that did not come true in time.
public struct TimedOut: Error, CustomStringConvertible {
    public let description: String
    public init(description: String) { self.description = description }
}

/// Polls until `condition` holds; throws `TimedOut` with `what` after `limit`.
public func waitUntil(
    limit: Duration = .seconds(30), _ what: @autoclosure @Sendable () -> String, isolation: isolated (any Actor)? = #isolation,
    _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw TimedOut(description: "not within \(limit): \(what())") }
        try await Task.sleep(for: .milliseconds(10))
    }
}
