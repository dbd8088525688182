import CulvertCompression
import CulvertIO
import CulvertProtocol

/// Compresses a session's payload as the peer's settings say; understands the peer's in any case.
final class LZ4Codec: BlockCodec {
    private let lz4 = LZ4()
    private var policy: CompressionPolicy
    /// Nanoseconds spent on compressing so far.
    private var spent: UInt64 = 0

    init(_ mode: CompressionMode) { policy = CompressionPolicy(mode) }

    func wants() -> Bool { policy.wants() }

    func compress(_ plain: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer) -> Int? {
        let began = EventLoop.processorTime
        let count = lz4.compress(plain, into: room)
        let time = EventLoop.processorTime - began
        spent += time
        policy.tried(plain: plain.count, packed: count, nanoseconds: time)
        return count
    }

    func decompress(_ block: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer) -> Bool {
        lz4.decompress(block, into: plain)
    }

    /// How the last interval went; see `CompressionPolicy`.
    func passed(_ interval: UInt64, idle: UInt64, linkBusy: UInt64) {
        policy.passed(interval, idle: idle, linkBusy: linkBusy)
    }

    /// Times what sends.
    /// - Parameter send: returns how many bytes it sent.
    func measure(_ send: () -> UInt64) {
        let began = EventLoop.processorTime, spentBefore = spent
        let bytes = send()
        policy.sent(bytes: bytes, nanoseconds: EventLoop.processorTime - began - (spent - spentBefore))
    }
}
