/// What a session is told by its owner. Times are nanoseconds, sizes bytes.
public struct SessionConfiguration: Sendable {
    public enum Role: Sendable {
        /// Its streams have odd ids; it chooses the session's id.
        case dialler
        /// Its streams have even ids.
        case listener
    }

    public var role: Role
    /// For the peer's logs.
    public var name: String
    /// Most unacknowledged or undelivered bytes of a stream in one direction.
    public var streamWindow: Int
    /// Streams that the peer may have open at once.
    public var maximumStreams: Int
    public var openWait: UInt64
    /// A lane is silent when nothing has arrived on it for this long; pings go out at a third of it.
    public var keepalive: UInt64
    /// How long a session outlives its last lane.
    public var resumeTimeout: UInt64
    /// What the owner can do beyond the session itself; offered to the peer.
    public var features: Features = []

    public init(
        role: Role, name: String, streamWindow: Int = 256 << 20, maximumStreams: Int = 16_384,
        openWait: UInt64 = 10_000_000, keepalive: UInt64 = 5_000_000_000, resumeTimeout: UInt64 = 60_000_000_000
    ) {
        self.role = role
        self.name = name
        self.streamWindow = max(streamWindow, ReceiveWindow.guaranteed)
        self.maximumStreams = maximumStreams
        self.openWait = openWait
        self.keepalive = keepalive
        self.resumeTimeout = resumeTimeout
    }

    /// Bytes of one stream that are read ahead of what has been sent: the bulk that a session queues in front of a
    /// stream that has something urgent to say.
    static let readAhead = 256 << 10
    /// An acknowledgement that is not urgent waits this long for company.
    static let ackDelay: UInt64 = 20_000_000
    /// How often lanes of one session ping while they carry something, and the least time after which one lags.
    static let lanePing: UInt64 = 100_000_000
    static let leastLag: UInt64 = 200_000_000
    /// How long beyond the last data.
    static let comparison: UInt64 = 1_000_000_000
    /// How often streams that wait for memory look again.
    static let memoryRetry: UInt64 = 5_000_000
}

/// What a session has to tell its owner.
public enum SessionEvent {
    /// The peer's HELLO has arrived; streams may be opened.
    case established(Hello)
    /// The peer opened a stream.
    case opened(SessionStream)
    /// A stream that had no space for more has some.
    case writable(SessionStream)
    /// The peer's direction has ended; all its bytes have arrived.
    case ended(SessionStream)
    /// The peer reset the stream. What it sent before can still be read.
    case reset(SessionStream, ResetReason)
    /// Both directions are finished and acknowledged.
    case closed(SessionStream)
    /// The peer will take no new streams, or nothing at all.
    case goaway(Goaway)
    /// A further lane can be used.
    case joined(SessionLane)
    /// The peer has lost this lane and made another in its place.
    case replaced(SessionLane)
    /// The peer does not take this lane; others carry the session.
    case refused(SessionLane, Goaway)
    /// Nothing has arrived on this lane for the keepalive time.
    case silent(SessionLane)
    /// There has been no lane for the resume timeout.
    case expired

    var stream: SessionStream? {
        switch self {
        case .opened(let stream), .writable(let stream), .ended(let stream), .reset(let stream, _), .closed(let stream):
            stream
        case .established, .goaway, .joined, .replaced, .refused, .silent, .expired:
            nil
        }
    }
}

/// Takes frames on their way to the peer.
public protocol FrameSink: AnyObject {
    /// Whether `put` may be called with a frame of up to 64 KiB.
    var hasRoom: Bool { get }
    /// Takes all of `frame`, which is invalid afterwards.
    func put(_ frame: UnsafeRawBufferPointer)
}
