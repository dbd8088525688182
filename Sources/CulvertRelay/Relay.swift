import CulvertIO
import CulvertTLS
import Logging

/// Something the relay was asked to do and cannot; the text names the thing, the cause and the next step.
public struct RelayError: Error, Sendable, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// One relay: its loops, its TLS port, its peers, services and forwards.
public final class Relay: Sendable {
    public init(settings: RelaySettings, tls: TLSContext, logger: Logger) throws(RelayError) {
        fatalError("in work")
    }

    /// Opens every listener; on an error nothing stays open.
    public func start() async throws(RelayError) { fatalError("in work") }

    /// Takes new settings and credentials without touching live streams; on an error nothing changes.
    public func apply(settings: RelaySettings, tls: TLSContext) async throws(RelayError) { fatalError("in work") }

    public func status() async -> RelayStatus { fatalError("in work") }

    public func addForward(_ settings: ForwardSettings) async throws(RelayError) -> ForwardStatus { fatalError("in work") }

    /// `forward` is an id or a listen address. Streams that came through it go on.
    public func removeForward(_ forward: String) async throws(RelayError) { fatalError("in work") }

    /// Starts the forward's lease anew.
    public func renewForward(_ forward: String) async throws(RelayError) -> ForwardStatus { fatalError("in work") }

    /// Takes no new streams, tells peers so, waits for streams to finish; returns how many it had to cut.
    public func drain(within limit: Duration) async -> Int { fatalError("in work") }

    /// Closes everything at once. Idempotent.
    public func stop() async { fatalError("in work") }
}
