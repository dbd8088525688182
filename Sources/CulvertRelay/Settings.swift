import CulvertCompression
import CulvertIO
import CulvertTLS

/// Everything a relay is told from outside. The configuration file is one source of it; tests are another.
public struct RelaySettings: Sendable, Equatable {
    /// The name this relay introduces itself with to peers.
    public var name: String
    /// Where peers reach this relay. Port 0 lets the kernel choose; `RelayStatus.listen` tells the real one.
    public var listen: [Endpoint]
    /// Directory for sockets the relay makes for a moment (`culvert connect`); the admin socket's directory.
    public var runtimeDirectory: String
    public var peers: [PeerSettings] = []
    public var services: [ServiceSettings] = []
    public var forwards: [ForwardSettings] = []
    public var limits = RelayLimits()
    /// Event loops, each on a thread of its own; 1 or more.
    public var loops: Int = 2

    public init(name: String, listen: [Endpoint], runtimeDirectory: String) {
        self.name = name
        self.listen = listen
        self.runtimeDirectory = runtimeDirectory
    }
}

/// A remote relay, as configured.
public struct PeerSettings: Sendable, Equatable {
    public var name: String
    /// Tried in turn. Empty: this peer is never dialled, it dials us.
    public var addresses: [Endpoint]
    /// What the peer has to prove to be: a DNS SAN of its certificate, or the name of its pre-shared key.
    public var identity: String
    /// TLS connections of a session that this relay dials, 1 to `PeerSettings.mostLanes`. They take the addresses in turn.
    public var lanes = 1
    /// Of the bulk to and from this peer. What both relays want is done; else it is `userspace`. What a session did not begin
    /// with counts from the next one on.
    public var protection = BulkProtection.userspace
    /// Of what this relay sends. Whether the peer compresses is its own affair.
    public var compression = CompressionMode.none

    public static let mostLanes = 16

    public init(name: String, addresses: [Endpoint], identity: String? = nil) {
        self.name = name
        self.addresses = addresses
        self.identity = identity ?? name
    }
}

/// Who encrypts the bulk of streams. Connections are made, peers are authenticated and short streams are carried by TLS in
/// this program in any case.
public enum BulkProtection: String, Sendable, Codable, CaseIterable {
    /// This program, inside the session: nothing is lost with a connection.
    case userspace
    /// The kernels, on connections of its own, which cannot be resumed.
    case kernel
    /// Nobody: whoever is on the way can read and change it. For links that are protected otherwise.
    case none
}

/// A named local target and the peers that may reach it.
public struct ServiceSettings: Sendable, Equatable {
    public var name: String
    /// The target. A UNIX path may contain `{name}` once, which stands for the NAME of `service/NAME`.
    public var connect: Endpoint
    /// Names of the peers that may reach it.
    public var allow: [String]

    public init(name: String, connect: Endpoint, allow: [String]) {
        self.name = name
        self.connect = connect
        self.allow = allow
    }
}

/// A peer's service as a forward or a command names it: `PEER/SERVICE` or `PEER/SERVICE/NAME`.
public struct ServiceReference: Sendable, Hashable, Codable, CustomStringConvertible {
    public var peer: String
    /// What is asked of the peer: `SERVICE` or `SERVICE/NAME`.
    public var service: String

    public init(peer: String, service: String) {
        self.peer = peer
        self.service = service
    }

    /// Nil unless `text` is a peer's name, a slash and a service's name.
    public init?(_ text: String) {
        guard let slash = text.firstIndex(of: "/") else { return nil }
        let peer = String(text[..<slash]), service = String(text[text.index(after: slash)...])
        guard !peer.isEmpty, !service.isEmpty else { return nil }
        self.init(peer: peer, service: service)
    }

    public var description: String { "\(peer)/\(service)" }
}

/// How urgent a forward's streams are.
public enum StreamPriority: String, Sendable, Codable, CaseIterable {
    /// Streams that say little overtake streams that say much; nothing to configure.
    case auto
    /// Ahead of bulk whenever it has something to say; up to 256 KiB at a time, so that it starves nobody.
    case control
}

/// A local listening socket that leads to a peer's service.
public struct ForwardSettings: Sendable, Equatable {
    public var listen: Endpoint
    public var to: ServiceReference
    public var priority = StreamPriority.auto
    /// Mode, owner and group of a UNIX socket; ignored for TCP.
    public var unix = UnixSocketOptions()
    /// Closes the forward after its first connection.
    public var once = false
    /// Removes the forward unless it is renewed within this time. Nil: it stays.
    public var lease: Duration?

    public init(listen: Endpoint, to: ServiceReference) {
        self.listen = listen
        self.to = to
    }
}

/// Bounds on what peers and streams can make the relay keep or wait for.
public struct RelayLimits: Sendable, Equatable {
    /// Most unacknowledged or undelivered bytes of one stream in one direction, 64 KiB or more. What 10 Gb/s over 80 ms have on
    /// the way, 100 MB, and as much again to grow into and to bear a lost segment.
    public var streamWindow = 256 << 20
    /// Most such bytes of all streams of one session; each stream keeps a guaranteed 64 KiB beyond it.
    public var sessionMemory = 512 << 20
    /// Most such bytes of the whole relay; each stream keeps a guaranteed 64 KiB beyond it.
    public var relayMemory = 1 << 30
    /// Most streams of one session that the peer may have open at once.
    public var streamsPerSession = 16_384
    /// Most connections on the TLS port whose peer has not been authenticated yet.
    public var unauthenticatedConnections = 64
    /// For the TLS handshake, and again for the peer's HELLO after it.
    public var handshakeTimeout = Duration.seconds(10)
    /// For a service's local target, and for each address of a peer.
    public var connectTimeout = Duration.seconds(10)
    /// How long an open waits for the stream's first bytes before it goes out alone.
    public var openWait = Duration.milliseconds(10)
    /// A lane on which nothing arrives for this long is dead; pings go out at a third of it.
    public var keepalive = Duration.seconds(5)
    /// Bytes after which a stream counts as bulk, which may pass by the session. Not for operators.
    var bulk: UInt64 = 8 << 20
    /// Bytes that pass by a session on one connection, and so under one key: well below what AES-GCM may encrypt in records of
    /// 16 KiB (RFC 8446, 5.5: 2^24.5 records). Not for operators.
    var bypassSegment: UInt64 = 1 << 36
    /// System calls that send there, each of which may end a record short of 16 KiB; together with the others not too many
    /// either. Not for operators.
    var bypassCalls: UInt64 = 1 << 23
    /// How long a session without a lane keeps its streams.
    public var sessionTimeout = Duration.seconds(60)

    public init() {}
}
