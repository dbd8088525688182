import CulvertIO

/// The way to the far host, as a migration uses it: the local relay, or a stand-in for it in tests.
///
/// Services are written `PEER/SERVICE` or `PEER/SERVICE/NAME`. Every call is bounded in time by who implements it.
public protocol Tunnel: Sendable {
    /// Opens a local socket that leads to `service`, at `listen` or where the tunnel chooses.
    /// It goes away after `lease` unless it is renewed; connections that came through it stay.
    func open(to service: String, listen: Endpoint?, lease: Duration) async throws(TunnelError) -> TunnelForward

    /// A forward that somebody else has opened and that leads from `listen` to `service`, if there is one.
    func existing(to service: String, listen: Endpoint) async throws(TunnelError) -> TunnelForward?

    /// Starts the lease anew.
    func renew(_ forward: TunnelForward) async throws(TunnelError)

    /// Removes the socket. Connections that came through it stay.
    func close(_ forward: TunnelForward) async throws(TunnelError)

    /// How the forward's streams ended, newest last.
    func outcomes(of forward: TunnelForward) async throws(TunnelError) -> [TunnelOutcome]
}

/// An open forward.
public struct TunnelForward: Sendable, Hashable {
    public var id: String
    /// Where to connect to, with the real port.
    public var address: Endpoint

    public init(id: String, address: Endpoint) {
        self.id = id
        self.address = address
    }
}

/// How a stream of a forward ended.
public struct TunnelOutcome: Sendable, Equatable {
    public struct Reset: Sendable, Equatable {
        /// The relay's name for the reason, for example `connect-failed`.
        public var code: String
        /// The name of the system's error, for example `ECONNREFUSED`, if there was one.
        public var errno: String?
        /// A sentence for a person.
        public var text: String
        /// True if the far side reset the stream.
        public var remote: Bool

        public init(code: String, errno: String?, text: String, remote: Bool) {
            self.code = code
            self.errno = errno
            self.text = text
            self.remote = remote
        }
    }

    public var bytesSent: UInt64
    public var bytesReceived: UInt64
    /// Nil for an orderly end.
    public var reset: Reset?

    public init(bytesSent: UInt64, bytesReceived: UInt64, reset: Reset?) {
        self.bytesSent = bytesSent
        self.bytesReceived = bytesReceived
        self.reset = reset
    }
}

/// The tunnel cannot do what was asked; the text names the thing, the cause and the next step.
public struct TunnelError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
    /// How the far relay reset the stream, where that is the cause.
    public var reset: TunnelOutcome.Reset?

    public init(_ description: String, reset: TunnelOutcome.Reset? = nil) {
        self.description = description
        self.reset = reset
    }
}

extension TunnelOutcome.Reset {
    /// The reason in words, with the far side's error number where the words do not have it.
    func text(seenFrom peer: String) -> String {
        let number = errno.map { text.contains($0) ? "" : " [\($0)]" } ?? ""
        return (remote ? "\(peer)'s relay reset the stream" : "the local relay reset the stream to \(peer)") + ": \(text)\(number)"
    }
}
