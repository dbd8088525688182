/// The 16 bytes in front of every frame; docs/PROTOCOL.md has the layout.
public struct FrameHeader: Equatable, Sendable {
    public static let size = 16

    public var kind: FrameKind
    public var flags: FrameFlags
    /// Bytes that follow the header.
    public var length: UInt32
    /// The stream it belongs to; 0 for the session.
    public var stream: UInt64

    public init(_ kind: FrameKind, flags: FrameFlags = [], length: Int, stream: UInt64 = 0) {
        self.kind = kind
        self.flags = flags
        self.length = UInt32(length)
        self.stream = stream
    }
}

public enum FrameKind: UInt8, Sendable, CaseIterable {
    case hello = 1
    case open = 2
    case data = 3
    case ack = 4
    case reset = 5
    case ping = 6
    case pong = 7
    case goaway = 8
    /// DATA whose payload is compressed.
    case packed = 9
    /// The first and only frame of a connection that carries one stream past its session.
    case attach = 10

    /// It concerns the whole session, and its stream is 0.
    var isOfSession: Bool {
        switch self {
        case .hello, .ping, .pong, .goaway, .attach: true
        case .open, .data, .ack, .reset, .packed: false
        }
    }
}

public struct FrameFlags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// DATA, OPEN: the stream ends after these bytes. ACK: all up to that end was delivered.
    public static let fin = FrameFlags(rawValue: 1)
    /// ACK: the stream's RESET has arrived.
    public static let reset = FrameFlags(rawValue: 2)

    static func allowed(for kind: FrameKind) -> FrameFlags {
        switch kind {
        case .data, .open, .packed: .fin
        case .ack: [.fin, .reset]
        case .hello, .reset, .ping, .pong, .goaway, .attach: []
        }
    }
}

/// Sizes that the wire format fixes.
public enum WireLimit {
    /// DATA's header: the frame header and the offset.
    public static let dataHeader = FrameHeader.size + 8
    /// Most payload bytes of a DATA frame that anybody may send.
    public static let dataPayload = 1 << 20
    /// PACKED: offset and plain size, in front of the block.
    public static let packedHeader = 12
    /// Most bytes that a block stands for.
    public static let packedPlain = 64 << 10
    static let packedBody = packedHeader + packedPlain
    /// Most bytes that follow the header of any other frame.
    public static let controlBody = 16 << 10
    /// Most UTF-8 bytes of a service as it is asked for.
    public static let service = 255
    /// Most UTF-8 bytes of a reason. Longer ones are cut when sent.
    public static let text = 1024
    /// Most UTF-8 bytes of a relay's name.
    public static let name = 255
}
