/// Why a stream was reset. Codes that a newer peer made up pass through as numbers.
public struct ResetCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A local socket broke off; the errno says how.
    public static let localClosed = ResetCode(rawValue: 1)
    /// The service's target could not be connected to; the errno says why.
    public static let connectFailed = ResetCode(rawValue: 2)
    public static let unknownService = ResetCode(rawValue: 3)
    /// The service's `allow` does not name this peer.
    public static let notAllowed = ResetCode(rawValue: 4)
    /// The NAME of `service/NAME` is malformed, or one is missing or superfluous.
    public static let badName = ResetCode(rawValue: 5)
    /// Too many streams; try later.
    public static let refused = ResetCode(rawValue: 6)
    /// The connection between the relays was lost.
    public static let sessionLost = ResetCode(rawValue: 7)
    /// A relay stopped before the stream had finished.
    public static let shutdown = ResetCode(rawValue: 8)
    /// The target did not take what had arrived before its stream was reset.
    public static let undelivered = ResetCode(rawValue: 9)
    public static let internalError = ResetCode(rawValue: 10)

    public var description: String {
        switch self {
        case .localClosed: "local-closed"
        case .connectFailed: "connect-failed"
        case .unknownService: "unknown-service"
        case .notAllowed: "not-allowed"
        case .badName: "bad-name"
        case .refused: "refused"
        case .sessionLost: "session-lost"
        case .shutdown: "shutdown"
        case .undelivered: "undelivered"
        case .internalError: "internal-error"
        default: "code-\(rawValue)"
        }
    }
}

public struct ResetReason: Hashable, Sendable {
    public var code: ResetCode
    /// Linux error number of the system call that failed; 0 if none did.
    public var errno: UInt32
    /// One sentence for a person.
    public var text: String

    public init(_ code: ResetCode, errno: UInt32 = 0, _ text: String) {
        self.code = code
        self.errno = errno
        self.text = text
    }
}

/// Why a session ends.
public struct GoawayCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The relay shuts down; open streams may finish.
    public static let draining = GoawayCode(rawValue: 0)
    /// The receiver broke the protocol.
    public static let protocolError = GoawayCode(rawValue: 1)
    /// The certificate is good, but no peer of the configuration has its name.
    public static let unknownPeer = GoawayCode(rawValue: 2)
    public static let unsupportedVersion = GoawayCode(rawValue: 3)
    /// Both relays dialled; the other session stays, and streams that are open on this one may finish.
    public static let superseded = GoawayCode(rawValue: 4)
    /// The lane asks to join a session that the relay does not know: it restarted, gave the session up, or never had it.
    public static let unknownSession = GoawayCode(rawValue: 5)

    /// Only new streams are concerned.
    public var letsStreamsFinish: Bool { self == .draining || self == .superseded }

    public var description: String {
        switch self {
        case .draining: "draining"
        case .protocolError: "protocol-error"
        case .unknownPeer: "unknown-peer"
        case .unsupportedVersion: "unsupported-version"
        case .superseded: "superseded"
        case .unknownSession: "unknown-session"
        default: "code-\(rawValue)"
        }
    }
}

/// What a peer did that no correct peer does. The session ends with it.
public struct ProtocolViolation: Error, Equatable, Sendable, CustomStringConvertible {
    public var code: GoawayCode
    public var description: String

    public init(code: GoawayCode = .protocolError, _ description: String) {
        self.code = code
        self.description = description
    }
}
