/// One connection of a session, as the protocol core sees it: its greeting, its pings, and how far it can be trusted.
public final class SessionLane {
    /// Its place in the session's count of lanes; 0 until the peer has said it, on the listening side.
    public internal(set) var number: UInt32
    /// The peer's HELLO has arrived on it.
    public internal(set) var isGreeted = false
    /// The round trip as last measured, and the least so far, in nanoseconds.
    public internal(set) var roundTrip: UInt64?
    public internal(set) var leastRoundTrip: UInt64?
    /// It has not answered a ping that another lane would have answered long ago: others send what it took.
    public internal(set) var isLagging = false

    var decoder = FrameDecoder()
    var helloIsDue = true
    /// The lane that it takes the place of.
    let replaces: UInt32?

    var pingDue = false
    /// When the last ping was sent, and its value, until it is answered.
    var pingSent: UInt64?
    /// When the last ping that was answered had been sent: what the lane took before then has arrived.
    var provenAt: UInt64 = 0
    var pongDue: UInt64?
    var nextPing: UInt64
    var lastReceived: UInt64
    var wasSilent = false
    /// Last words on streams that this side has forgotten, and when they were sent here; until a later ping is answered.
    private(set) var lastWords = Fifo<(sent: UInt64, ack: Ack)>()

    /// More do not wait for the next ping that is due anyway.
    private static let manyLastWords = 256

    init(number: UInt32, replaces: UInt32?, now: UInt64) {
        self.number = number
        self.replaces = replaces
        nextPing = now
        lastReceived = now
    }

    func remember(_ ack: Ack, now: UInt64) {
        lastWords.append((now, ack))
        if lastWords.count > Self.manyLastWords, pingSent == nil { pingDue = true }
    }

    /// An answer to an earlier ping than the last says nothing of the path as it is, but what went before that one has arrived.
    func measure(_ value: UInt64, now: UInt64) {
        guard let sent = pingSent, value <= sent else { return }
        while let first = lastWords.first, first.sent < value { _ = lastWords.popFirst() }
        guard value == sent, sent <= now else { return }
        pingSent = nil
        provenAt = sent
        isLagging = false
        roundTrip = now - sent
        leastRoundTrip = min(leastRoundTrip ?? .max, now - sent)
    }
}

/// Reads what a connection says before it is known which session it belongs to: one frame.
public struct LaneGreeting: ~Copyable {
    /// What the connection is for.
    public enum Purpose {
        case lane(Hello)
        case bypass(Attach)
    }

    private var decoder = FrameDecoder()

    public init() {}

    /// - Parameter input: what arrived; bytes behind the frame are left in it.
    /// - Returns: what it says, once it is whole.
    /// - Throws: what the peer did wrong.
    public mutating func receive(_ input: inout UnsafeRawBufferPointer) throws(ProtocolViolation) -> Purpose? {
        switch try decoder.next(&input) {
        case nil:
            return nil
        case .control(let header, let body) where header.kind == .hello:
            let hello = try Hello(body: body)
            try hello.checkVersion()
            return .lane(hello)
        case .control(let header, let body) where header.kind == .attach:
            return .bypass(try Attach(body: body))
        case .control(let header, let body) where header.kind == .goaway:
            let goaway = try Goaway(body: body)
            throw ProtocolViolation(code: goaway.code, "the peer says: \(goaway.text)")
        case .control(let header, _):
            throw ProtocolViolation("\(header.kind) before HELLO")
        case .data:
            throw ProtocolViolation("DATA before HELLO")
        }
    }
}

extension Hello {
    func checkVersion() throws(ProtocolViolation) {
        guard minimumVersion <= Hello.currentVersion, version >= Hello.currentVersion else {
            throw ProtocolViolation(
                code: .unsupportedVersion,
                "speaks versions \(minimumVersion) to \(version), this relay \(Hello.currentVersion)")
        }
    }
}
