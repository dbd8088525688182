/// What a relay looks like at one moment. The admin interface serves it as JSON; counters only grow.
public struct RelayStatus: Sendable, Codable, Equatable {
    public var name: String
    public var version: String
    /// Seconds since the relay started.
    public var uptime: Double
    /// TLS addresses in use, with real ports, as `host:port`.
    public var listen: [String]
    public var draining: Bool
    public var peers: [PeerStatus]
    public var forwards: [ForwardStatus]
    public var services: [ServiceStatus]
    /// Connections on the TLS port that were refused before they were a peer, by reason.
    public var refused: [String: UInt64]
    /// All reasons that there are.
    public static var refusalReasons: [String] { Acceptor.reasons }
    /// Bytes in stream buffers now.
    public var memory: Int
}

public struct PeerStatus: Sendable, Codable, Equatable {
    public var name: String
    public var addresses: [String]
    public var sessions: [SessionStatus]
    /// Why there is no connection now, or the last session ended or could not be made.
    public var lastError: String?
    /// Since the relay started, live streams included.
    public var streamsOpened: UInt64
    public var streamsReset: UInt64
    public var bytesSent: UInt64
    public var bytesReceived: UInt64
    /// Those of them that never entered this process.
    public var splicedSent: UInt64
    public var splicedReceived: UInt64
}

public struct SessionStatus: Sendable, Codable, Equatable {
    /// Hexadecimal, the same on both relays.
    public var id: String
    /// True if this relay dialled.
    public var dialled: Bool
    public var draining: Bool
    /// Seconds since the session was made.
    public var age: Double
    /// Last and least round trip in milliseconds; nil before the first pong.
    public var rtt: Double?
    public var rttMinimum: Double?
    /// Lanes that were lost while the session went on. With streams and no lane it waits for one.
    public var lanesLost: Int
    public var compression: CompressionStatus
    public var bulk: BulkStatus
    public var lanes: [LaneStatus]
    public var streams: [StreamStatus]
}

/// Payload that went compressed, in bytes before and after. What did not shrink is in neither.
public struct CompressionStatus: Sendable, Codable, Equatable {
    /// Of what this relay sends: none, lz4 or auto.
    public var mode: String
    public var sentPlain: UInt64
    public var sentPacked: UInt64
    public var receivedPlain: UInt64
    public var receivedPacked: UInt64
}

/// Who encrypts bulk: userspace, kernel or none.
public struct BulkStatus: Sendable, Codable, Equatable {
    /// What this relay's configuration asks for.
    public var wanted: String
    /// What both relays said when the session began, as far as this one still allows it.
    public var agreed: String
}

public struct LaneStatus: Sendable, Codable, Equatable {
    /// Within its session, the same on both relays.
    public var number: UInt32
    public var local: String
    public var remote: String
    /// For example `OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384`.
    public var tls: String
    /// Name of the thread that encrypts and decrypts for it.
    public var loop: String
    /// Last round trip in milliseconds.
    public var rtt: Double?
    /// Ciphertext bytes.
    public var bytesSent: UInt64
    public var bytesReceived: UInt64
}

public struct StreamStatus: Sendable, Codable, Equatable {
    public var id: UInt64
    /// What was asked of the side that did not open it: `SERVICE` or `SERVICE/NAME`.
    public var service: String
    /// True if this relay opened it.
    public var outgoing: Bool
    /// The forward it came through, if it is outgoing.
    public var forward: String?
    /// connecting, opening, open, half-closed (local), half-closed (remote), closing
    public var state: String
    /// Seconds.
    public var age: Double
    public var bytesSent: UInt64
    public var bytesReceived: UInt64
    /// Those of them that passed by the session and never entered this process.
    public var splicedSent: UInt64
    public var splicedReceived: UInt64
    /// Whether it outlives the loss of its connection at the moment: not while it passes by the session.
    public var lossless: Bool
    /// Bytes a second, over the last second or so.
    public var sendRate: Double
    public var receiveRate: Double
    /// Bytes kept until the peer acknowledges them.
    public var unacknowledged: Int
    /// Bytes received that the local socket has not taken yet.
    public var undelivered: Int
    /// Bytes the peer still allows us to send, and we allow it to send.
    public var sendWindow: Int
    public var receiveWindow: Int
}

public struct ServiceStatus: Sendable, Codable, Equatable {
    public var name: String
    public var connect: String
    public var allow: [String]
}

public struct ForwardStatus: Sendable, Codable, Equatable {
    /// Unique while the relay runs; what `forward remove` takes.
    public var id: String
    /// With the real port if 0 was asked for.
    public var listen: String
    public var to: String
    /// `config` for those of the configuration file, else `admin`.
    public var origin: String
    /// When it goes unless it is renewed, seconds since 1970; nil if it has no lease.
    public var expires: Double?
    /// Connections accepted so far and still open.
    public var accepted: UInt64
    public var active: Int
    /// The last streams of this forward that ended, newest last; at most 16.
    public var ended: [StreamOutcome]
}

/// How a stream ended.
public struct StreamOutcome: Sendable, Codable, Equatable {
    public var stream: UInt64
    /// Seconds since 1970.
    public var time: Double
    public var bytesSent: UInt64
    public var bytesReceived: UInt64
    /// Nil for a clean end, both directions finished; else the reset.
    public var reset: ResetReport?
}

public struct ResetReport: Sendable, Codable, Equatable {
    /// The protocol's name of the code, for example `connect-failed`.
    public var code: String
    /// The far system's error, for example `ECONNREFUSED`; nil if no system call failed.
    public var errno: String?
    /// One sentence for a person.
    public var text: String
    /// True if the peer reset it, false if this relay did.
    public var remote: Bool
}
