/// Cuts a lane's plaintext into frames. The payload of DATA is handed on in pieces as it arrives and is never gathered;
/// every other frame is handed on whole.
struct FrameDecoder: ~Copyable {
    enum Item {
        /// Some payload of a DATA frame, from `offset` on. `fin` comes with the last piece only.
        case data(stream: UInt64, offset: UInt64, payload: UnsafeRawBufferPointer, fin: Bool)
        /// Any other frame. `body` is valid until the next call.
        case control(FrameHeader, body: UnsafeRawBufferPointer)
    }

    private struct Payload {
        var stream: UInt64
        var offset: UInt64
        var remaining: Int
        var fin: Bool
    }

    /// The DATA frame whose payload is arriving.
    private var payload: Payload?
    /// The first `held` bytes of a frame that the last range cut off; big enough for any frame that is handed on whole.
    private let partial = UnsafeMutableRawBufferPointer.allocate(
        byteCount: FrameHeader.size + max(WireLimit.controlBody, WireLimit.packedBody), alignment: 16)
    private var held = 0

    deinit { partial.deallocate() }

    /// Takes one item from the front of `input`. Nil: all of `input` is used up.
    mutating func next(_ input: inout UnsafeRawBufferPointer) throws(ProtocolViolation) -> Item? {
        if payload != nil { return takePayload(&input) }
        if held > 0 { return try completePartial(&input) }
        guard let header = try Self.header(input) else { return hold(&input) }
        let needed = FrameHeader.size + (header.kind == .data ? 8 : Int(header.length))
        guard input.count >= needed else { return hold(&input) }
        let frame = UnsafeRawBufferPointer(rebasing: input[..<needed])
        input = UnsafeRawBufferPointer(rebasing: input[needed...])
        return accept(header, frame, &input)
    }

    private mutating func accept(
        _ header: FrameHeader, _ frame: UnsafeRawBufferPointer, _ input: inout UnsafeRawBufferPointer
    ) -> Item? {
        guard header.kind == .data else {
            return .control(header, body: UnsafeRawBufferPointer(rebasing: frame[FrameHeader.size...]))
        }
        payload = Payload(
            stream: header.stream,
            offset: UInt64(bigEndian: frame.loadUnaligned(fromByteOffset: FrameHeader.size, as: UInt64.self)),
            remaining: Int(header.length) - 8, fin: header.flags.contains(.fin))
        return takePayload(&input)
    }

    private mutating func takePayload(_ input: inout UnsafeRawBufferPointer) -> Item? {
        guard var current = payload else { return nil }
        let count = min(current.remaining, input.count)
        if count == 0 && current.remaining > 0 { return nil }
        let piece = UnsafeRawBufferPointer(rebasing: input[..<count])
        input = UnsafeRawBufferPointer(rebasing: input[count...])
        let offset = current.offset
        current.offset &+= UInt64(count)
        current.remaining -= count
        let last = current.remaining == 0
        payload = last ? nil : current
        return .data(stream: current.stream, offset: offset, payload: piece, fin: last && current.fin)
    }

    private mutating func hold(_ input: inout UnsafeRawBufferPointer) -> Item? {
        fill(to: held + input.count, &input)
        return nil
    }

    /// Moves as much of `input` behind the partial frame as completes it.
    private mutating func completePartial(
        _ input: inout UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> Item? {
        fill(to: FrameHeader.size, &input)
        guard let header = try Self.header(UnsafeRawBufferPointer(rebasing: partial[..<held])) else { return nil }
        let needed = FrameHeader.size + (header.kind == .data ? 8 : Int(header.length))
        fill(to: needed, &input)
        guard held == needed else { return nil }
        held = 0
        return accept(header, UnsafeRawBufferPointer(rebasing: partial[..<needed]), &input)
    }

    private mutating func fill(to count: Int, _ input: inout UnsafeRawBufferPointer) {
        let missing = min(max(0, count - held), input.count)
        UnsafeMutableRawBufferPointer(rebasing: partial[held...]).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: input[..<missing]))
        held += missing
        input = UnsafeRawBufferPointer(rebasing: input[missing...])
    }

    /// The checked header, or nil if there are fewer than 16 bytes.
    private static func header(_ bytes: UnsafeRawBufferPointer) throws(ProtocolViolation) -> FrameHeader? {
        guard bytes.count >= FrameHeader.size else { return nil }
        guard let kind = FrameKind(rawValue: bytes[0]) else {
            throw ProtocolViolation("unknown frame type \(bytes[0])")
        }
        let flags = FrameFlags(rawValue: bytes[1])
        guard flags.isSubset(of: .allowed(for: kind)) else {
            throw ProtocolViolation("flags \(bytes[1]) on a frame of type \(kind)")
        }
        guard bytes[2] == 0, bytes[3] == 0 else { throw ProtocolViolation("reserved bits set in a frame header") }
        let length = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        let (least, limit) =
            switch kind {
            case .data: (8, 8 + WireLimit.dataPayload)
            case .packed: (WireLimit.packedHeader, WireLimit.packedBody)
            default: (0, WireLimit.controlBody)
            }
        guard length >= least, length <= limit else {
            throw ProtocolViolation("length \(length) of a frame of type \(kind)")
        }
        let stream = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        guard kind.isOfSession == (stream == 0) else {
            throw ProtocolViolation("stream \(stream) in a frame of type \(kind)")
        }
        return FrameHeader(kind, flags: flags, length: Int(length), stream: stream)
    }
}
