@testable import CulvertProtocol

/// A frame with everything in it, for scripts and comparisons.
enum Frame: Equatable {
    case hello(Hello)
    case open(Open, first: [UInt8] = [], fin: Bool = false)
    case data(UInt64, at: UInt64, [UInt8] = [], fin: Bool = false)
    case ack(Ack)
    case reset(Reset)
    case ping(UInt64)
    case pong(UInt64)
    case goaway(Goaway)
    case attach(Attach)
    /// A block that stands for `plain` bytes.
    case packed(UInt64, at: UInt64, plain: UInt32, [UInt8], fin: Bool = false)

    var bytes: [UInt8] {
        var encoder = FrameEncoder()
        switch self {
        case .hello(let hello): return Array(encoder.hello(hello))
        case .open(let open, let first, let fin):
            return first.withUnsafeBytes { Array(encoder.open(open, first: $0, fin: fin)) }
        case .data(let stream, let offset, let payload, let fin):
            var bytes = [UInt8](repeating: 0, count: WireLimit.dataHeader)
            bytes.withUnsafeMutableBytes {
                FrameEncoder.writeDataHeader(to: $0, stream: stream, offset: offset, count: payload.count, fin: fin)
            }
            return bytes + payload
        case .ack(let ack): return Array(encoder.ack(ack))
        case .reset(let reset): return Array(encoder.reset(reset))
        case .ping(let value): return Array(encoder.ping(.ping, value))
        case .pong(let value): return Array(encoder.ping(.pong, value))
        case .goaway(let goaway): return Array(encoder.goaway(goaway))
        case .attach(let attach): return Array(encoder.attach(attach))
        case .packed(let stream, let offset, let plain, let block, let fin):
            var header = [UInt8](repeating: 0, count: FrameHeader.size)
            header.withUnsafeMutableBytes {
                FrameHeader(.packed, flags: fin ? .fin : [], length: 12 + block.count, stream: stream).write(to: $0)
            }
            return header + withUnsafeBytes(of: offset.bigEndian) { Array($0) } + withUnsafeBytes(of: plain.bigEndian) { Array($0) }
                + block
        }
    }

    /// Decodes ranges that follow each other. A DATA frame that was cut by a range's end is put together again.
    static func decode(_ ranges: [[UInt8]]) throws(ProtocolViolation) -> [Frame] {
        var reader = FrameReader()
        for range in ranges { try reader.read(range) }
        return reader.frames
    }

    static func decode(_ bytes: [UInt8]) throws(ProtocolViolation) -> [Frame] { try decode([bytes]) }
}

/// Decodes a stream of frames that arrives in ranges.
struct FrameReader: ~Copyable {
    private var decoder = FrameDecoder()
    private(set) var frames: [Frame] = []
    /// Payload of the DATA frame that is still arriving, as the decoder hands it on without saying how much will follow.
    private var open: (stream: UInt64, end: UInt64)?

    mutating func read(_ range: [UInt8]) throws(ProtocolViolation) {
        let memory = copy(range)
        defer { memory.deallocate() }
        var input = memory
        while let item = try decoder.next(&input) { try take(item) }
        precondition(input.isEmpty, "the decoder left \(input.count) bytes")
    }

    private mutating func take(_ item: FrameDecoder.Item) throws(ProtocolViolation) {
        switch item {
        case .data(let stream, let offset, let payload, let fin):
            takeData(stream, offset, Array(payload), fin)
        case .control(let header, let body):
            open = nil
            frames.append(try Self.control(header, body))
        }
    }

    private mutating func takeData(_ stream: UInt64, _ offset: UInt64, _ payload: [UInt8], _ fin: Bool) {
        if let open, open == (stream, offset), case .data(_, let start, let bytes, false)? = frames.last {
            frames[frames.count - 1] = .data(stream, at: start, bytes + payload, fin: fin)
        } else {
            frames.append(.data(stream, at: offset, payload, fin: fin))
        }
        open = fin ? nil : (stream, offset &+ UInt64(payload.count))
    }

    private static func control(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> Frame {
        switch header.kind {
        case .hello: return .hello(try Hello(body: body))
        case .open:
            let (open, first) = try Open.read(header, body)
            return .open(open, first: Array(first), fin: header.flags.contains(.fin))
        case .ack: return .ack(try Ack(header, body))
        case .reset: return .reset(try Reset(header, body))
        case .ping: return .ping(try value(header, body))
        case .pong: return .pong(try value(header, body))
        case .goaway: return .goaway(try Goaway(body: body))
        case .attach: return .attach(try Attach(body: body))
        case .packed:
            var fields = FrameBody(body, of: .packed)
            return .packed(
                header.stream, at: try fields.integer(), plain: try fields.integer(), Array(fields.rest()),
                fin: header.flags.contains(.fin))
        case .data: preconditionFailure("DATA is handed on as payload")
        }
    }

    private static func value(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> UInt64 {
        var body = FrameBody(body, of: header.kind)
        let value = try body.integer(UInt64.self)
        try body.end()
        return value
    }
}

/// Memory of its own for `bytes`, exactly as long, so that the address sanitizer sees a step beyond; to be deallocated.
func copy(_ bytes: some Collection<UInt8>) -> UnsafeRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    memory.copyBytes(from: bytes)
    return UnsafeRawBufferPointer(memory)
}
