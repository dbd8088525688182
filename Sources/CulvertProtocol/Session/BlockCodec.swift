/// Makes blocks of payload smaller for the wire. `Features.lz4` says that the peer can undo it.
public protocol BlockCodec: AnyObject {
    /// Whether the next block should be tried.
    func wants() -> Bool
    /// - Returns: how many bytes of `room` the block takes; nil if they are too few.
    func compress(_ plain: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer) -> Int?
    /// - Returns: whether `block` is sound and fills `plain` exactly.
    func decompress(_ block: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer) -> Bool
}

/// Compresses DATA on its way out and undoes it on its way in; counts what that saves.
final class Packer {
    /// Smaller payloads are not worth a block.
    private static let least = 1024

    private let codec: any BlockCodec
    private let frame = UnsafeMutableRawBufferPointer.allocate(
        byteCount: FrameHeader.size + WireLimit.packedBody, alignment: 16)
    private let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: WireLimit.packedPlain, alignment: 16)
    /// Payload that went out compressed, and the bytes that it took.
    private(set) var sent: (plain: UInt64, packed: UInt64) = (0, 0)
    private(set) var received: (plain: UInt64, packed: UInt64) = (0, 0)

    init(_ codec: any BlockCodec) { self.codec = codec }

    deinit {
        frame.deallocate()
        plain.deallocate()
    }

    /// - Returns: a PACKED frame, valid until the next call; nil if DATA does as well.
    func pack(
        stream: UInt64, offset: UInt64, payload: UnsafeRawBufferPointer, fin: Bool
    ) -> UnsafeRawBufferPointer? {
        guard payload.count >= Self.least, codec.wants() else { return nil }
        let start = FrameHeader.size + WireLimit.packedHeader
        // Less than a sixteenth is not worth the other side's trouble.
        let room = UnsafeMutableRawBufferPointer(rebasing: frame[start..<start + payload.count / 16 * 15])
        guard let count = codec.compress(payload, into: room) else { return nil }
        FrameHeader(.packed, flags: fin ? .fin : [], length: WireLimit.packedHeader + count, stream: stream).write(to: frame)
        frame.storeBytes(of: offset.bigEndian, toByteOffset: FrameHeader.size, as: UInt64.self)
        frame.storeBytes(of: UInt32(payload.count).bigEndian, toByteOffset: FrameHeader.size + 8, as: UInt32.self)
        sent.plain += UInt64(payload.count)
        sent.packed += UInt64(count)
        return UnsafeRawBufferPointer(rebasing: frame[..<(start + count)])
    }

    /// - Returns: the payload, valid until the next call.
    func unpack(_ body: UnsafeRawBufferPointer) throws(ProtocolViolation) -> (offset: UInt64, payload: UnsafeRawBufferPointer) {
        var fields = FrameBody(body, of: .packed)
        let offset = try fields.integer(UInt64.self), count = Int(try fields.integer(UInt32.self))
        let block = fields.rest()
        guard count <= WireLimit.packedPlain else {
            throw ProtocolViolation("a block of \(count) bytes, at most \(WireLimit.packedPlain)")
        }
        let payload = UnsafeMutableRawBufferPointer(rebasing: plain[..<count])
        guard codec.decompress(block, into: payload) else { throw ProtocolViolation("a block that is no LZ4 of \(count) bytes") }
        received.plain += UInt64(count)
        received.packed += UInt64(block.count)
        return (offset, UnsafeRawBufferPointer(payload))
    }
}
