import CulvertRelay

/// What the admin interface can ask of a relay.
public protocol RelayControl: Sendable {
    func status() async -> RelayStatus
    func addForward(_ settings: ForwardSettings) async throws(RelayError) -> ForwardStatus
    func removeForward(_ forward: String) async throws(RelayError)
    func renewForward(_ forward: String) async throws(RelayError) -> ForwardStatus
}

extension Relay: RelayControl {}
