/// The first frame of each direction of a lane.
public struct Hello: Equatable, Sendable {
    /// `CLVT`.
    public static let magic: UInt32 = 0x434C_5654
    /// The version this code speaks, and the least it still speaks.
    public static let currentVersion: UInt16 = 1

    public var version = Hello.currentVersion
    public var minimumVersion = Hello.currentVersion
    public var features: Features = []
    /// Chosen at random by the side that dialled; the other repeats it.
    public var session: SessionID
    /// The lane's number within the session: 0 makes the session, any other joins it. The side that dialled counts.
    public var lane: UInt32 = 0
    /// The number of a lane that this one takes the place of, which is dead for the sender; its own number if there is none.
    public var replaces: UInt32 = 0
    /// Known to both relays of the session and to nobody else; in the listener's HELLO all zeros.
    public var secret = SessionID(high: 0, low: 0)
    /// Credit that every stream starts with, towards the sender of this frame.
    public var initialCredit: UInt64
    /// Streams that the receiver of this frame may have open at once.
    public var maximumStreams: UInt32
    /// The relay's name, for logs. Who the peer is, TLS decides.
    public var name: String

    public init(session: SessionID, initialCredit: UInt64, maximumStreams: UInt32, name: String) {
        self.session = session
        self.initialCredit = initialCredit
        self.maximumStreams = maximumStreams
        self.name = name
    }
}

/// What a relay can do beyond version 1's base; a session uses what both offer. Unknown bits are ignored.
public struct Features: OptionSet, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// It takes PACKED.
    public static let lz4 = Features(rawValue: 1)
    /// It takes streams past the session, as records that its kernel decrypts.
    public static let kernelBypass = Features(rawValue: 2)
    /// It takes streams past the session, unencrypted.
    public static let plainBypass = Features(rawValue: 4)
}

/// 128 random bits: what a session is called, or the secret that opens it to further lanes.
public struct SessionID: Hashable, Sendable, CustomStringConvertible {
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static func random() -> SessionID {
        var generator = SystemRandomNumberGenerator()
        return SessionID(high: generator.next(), low: generator.next())
    }

    /// Compares in a time that tells nothing of where the difference is.
    func matchesSecret(_ other: SessionID) -> Bool { (high ^ other.high) | (low ^ other.low) == 0 }

    public var description: String {
        func hexadecimal(_ value: UInt64) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return hexadecimal(high) + hexadecimal(low)
    }
}

/// Says what a connection is for that carries one stream past its session.
public struct Attach: Equatable, Sendable {
    /// What both relays call it. Whoever says it has heard it inside the session.
    public var token: SessionID

    public init(token: SessionID) { self.token = token }

    /// As it goes over the wire.
    public var frame: [UInt8] {
        var encoder = FrameEncoder()
        return Array(encoder.attach(self))
    }
}

/// Asks for a service; carries the stream's first bytes.
public struct Open: Equatable, Sendable {
    public var stream: UInt64
    /// Absolute: bytes that the sender of this frame will take of the answer.
    public var credit: UInt64
    public var priority: Priority
    /// `SERVICE` or `SERVICE/NAME`.
    public var service: String

    public init(stream: UInt64, credit: UInt64, priority: Priority, service: String) {
        self.stream = stream
        self.credit = credit
        self.priority = priority
        self.service = service
    }
}

public enum Priority: UInt8, Sendable {
    case auto = 0
    case control = 1
}

/// Absolute positions, so that a repeat is harmless and the last one counts.
public struct Ack: Equatable, Sendable {
    public var stream: UInt64
    /// Every byte before this offset has arrived.
    public var received: UInt64
    /// Bytes before this offset may be sent.
    public var credit: UInt64
    /// The stream has ended and all of it was delivered.
    public var fin = false
    /// The stream's RESET has arrived.
    public var reset = false

    public init(stream: UInt64, received: UInt64, credit: UInt64, fin: Bool = false, reset: Bool = false) {
        self.stream = stream
        self.received = received
        self.credit = credit
        self.fin = fin
        self.reset = reset
    }
}

/// Ends both directions of a stream at once.
public struct Reset: Equatable, Sendable {
    public var stream: UInt64
    /// Where the sender's direction ends: its bytes before this offset were sent and may still be delivered.
    public var finalOffset: UInt64
    public var reason: ResetReason

    public init(stream: UInt64, finalOffset: UInt64, reason: ResetReason) {
        self.stream = stream
        self.finalOffset = finalOffset
        self.reason = reason
    }
}

/// The last thing a session says.
public struct Goaway: Equatable, Sendable {
    public var code: GoawayCode
    /// The receiver's highest stream that was taken; streams above were not looked at and may be asked for elsewhere.
    public var lastStream: UInt64
    public var text: String

    public init(code: GoawayCode, lastStream: UInt64, text: String) {
        self.code = code
        self.lastStream = lastStream
        self.text = text
    }

    /// As it goes over the wire.
    public var frame: [UInt8] {
        var encoder = FrameEncoder()
        return Array(encoder.goaway(self))
    }
}
