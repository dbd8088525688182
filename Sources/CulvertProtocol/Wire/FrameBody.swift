/// Reads the body of a frame from front to back; everything in it is the peer's word and is checked.
struct FrameBody: ~Copyable {
    private let bytes: UnsafeRawBufferPointer
    private let kind: FrameKind
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer, of kind: FrameKind) {
        self.bytes = bytes
        self.kind = kind
    }

    mutating func integer<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws(ProtocolViolation) -> Value {
        let raw = try take(MemoryLayout<Value>.size).loadUnaligned(as: Value.self)
        return Value(bigEndian: raw)
    }

    mutating func text(limit: Int) throws(ProtocolViolation) -> String {
        let count = Int(try integer(UInt16.self))
        guard count <= limit else { throw ProtocolViolation("text of \(count) bytes in \(kind), at most \(limit)") }
        guard let text = String(validating: try take(count), as: UTF8.self) else {
            throw ProtocolViolation("text in \(kind) is not UTF-8")
        }
        return text
    }

    /// All that is left.
    mutating func rest() -> UnsafeRawBufferPointer {
        defer { position = bytes.count }
        return UnsafeRawBufferPointer(rebasing: bytes[position...])
    }

    /// A body with more in it than this version knows is an error, so that extensions are negotiated, not guessed.
    func end() throws(ProtocolViolation) {
        guard position == bytes.count else { throw ProtocolViolation("\(bytes.count - position) bytes too many in \(kind)") }
    }

    private mutating func take(_ count: Int) throws(ProtocolViolation) -> UnsafeRawBufferPointer {
        guard bytes.count - position >= count else { throw ProtocolViolation("\(kind) is too short") }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }
}

extension Hello {
    /// Parameters that a newer minor version appends are ignored.
    init(body: UnsafeRawBufferPointer) throws(ProtocolViolation) {
        var body = FrameBody(body, of: .hello)
        guard try body.integer(UInt32.self) == Hello.magic else { throw ProtocolViolation("no Culvert peer: wrong magic") }
        let version = try body.integer(UInt16.self), minimum = try body.integer(UInt16.self)
        let features = Features(rawValue: try body.integer())
        let session = SessionID(high: try body.integer(), low: try body.integer())
        let lane = try body.integer(UInt32.self), replaces = try body.integer(UInt32.self)
        let maximumStreams = try body.integer(UInt32.self)
        _ = try body.integer(UInt32.self)
        let initialCredit = try body.integer(UInt64.self)
        let secret = SessionID(high: try body.integer(), low: try body.integer())
        let name = try body.text(limit: WireLimit.name)
        self.init(session: session, initialCredit: initialCredit, maximumStreams: maximumStreams, name: name)
        self.version = version
        self.minimumVersion = minimum
        self.features = features
        self.lane = lane
        self.replaces = replaces
        self.secret = secret
    }
}

extension Attach {
    init(body: UnsafeRawBufferPointer) throws(ProtocolViolation) {
        var body = FrameBody(body, of: .attach)
        let token = SessionID(high: try body.integer(), low: try body.integer())
        try body.end()
        self.init(token: token)
    }
}

extension Open {
    /// - Returns: the frame and the stream's first bytes.
    static func read(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> (Open, first: UnsafeRawBufferPointer) {
        var body = FrameBody(body, of: .open)
        let credit = try body.integer(UInt64.self)
        // A priority this version does not know is treated as the ordinary one.
        let priority = Priority(rawValue: try body.integer(UInt8.self)) ?? .auto
        _ = try body.integer(UInt8.self)
        let service = try body.text(limit: WireLimit.service)
        return (Open(stream: header.stream, credit: credit, priority: priority, service: service), body.rest())
    }
}

extension Ack {
    init(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) throws(ProtocolViolation) {
        var body = FrameBody(body, of: .ack)
        let received = try body.integer(UInt64.self), credit = try body.integer(UInt64.self)
        try body.end()
        self.init(
            stream: header.stream, received: received, credit: credit,
            fin: header.flags.contains(.fin), reset: header.flags.contains(.reset))
    }
}

extension Reset {
    init(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) throws(ProtocolViolation) {
        var body = FrameBody(body, of: .reset)
        let final = try body.integer(UInt64.self)
        let code = ResetCode(rawValue: try body.integer())
        let errno = try body.integer(UInt32.self)
        let text = try body.text(limit: WireLimit.text)
        try body.end()
        self.init(stream: header.stream, finalOffset: final, reason: ResetReason(code, errno: errno, text))
    }
}

extension Goaway {
    init(body: UnsafeRawBufferPointer) throws(ProtocolViolation) {
        var body = FrameBody(body, of: .goaway)
        let code = GoawayCode(rawValue: try body.integer())
        let last = try body.integer(UInt64.self)
        let text = try body.text(limit: WireLimit.text)
        try body.end()
        self.init(code: code, lastStream: last, text: text)
    }
}
