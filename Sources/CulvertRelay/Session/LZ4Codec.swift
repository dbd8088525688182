import CulvertCompression
import CulvertProtocol

/// Compresses a session's payload as the peer's settings say; understands the peer's in any case.
final class LZ4Codec: BlockCodec {
    private let lz4 = LZ4()
    private var policy: CompressionPolicy

    init(_ mode: CompressionMode) { policy = CompressionPolicy(mode) }

    func wants(_ count: Int, now: UInt64) -> Bool { policy.wants(count, now: now) }

    func compress(_ plain: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer) -> Int? {
        let count = lz4.compress(plain, into: room)
        policy.note(shrank: count != nil)
        return count
    }

    func decompress(_ block: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer) -> Bool {
        lz4.decompress(block, into: plain)
    }
}
