import CulvertCompression
import CulvertIO
import CulvertProtocol

/// Compresses a session's payload as the peer's settings say; understands the peer's in any case.
final class LZ4Codec: BlockCodec {
    private let lz4 = LZ4()
    private var policy: CompressionPolicy
    /// Nanoseconds spent on compressing so far.
    private var spent: UInt64 = 0
    /// Bytes that the lanes had sent when that was looked at last.
    private var sent: UInt64 = 0

    init(_ mode: CompressionMode) { policy = CompressionPolicy(mode) }

    /// - Parameter sent: bytes that the lanes have sent so far.
    func change(to mode: CompressionMode, sent: UInt64) {
        policy = CompressionPolicy(mode)
        self.sent = sent
    }

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

    /// See `CompressionPolicy`.
    func learn(from interval: UInt64, idle: UInt64, linkBusy: UInt64) {
        policy.learn(from: interval, idle: idle, linkBusy: linkBusy)
    }

    /// Times what sends.
    /// - Parameter total: bytes that the lanes have sent so far; those of another loop say so later, and what they take there
    ///   is not this loop's.
    func measure(_ send: () -> Void, total: () -> UInt64) {
        let began = EventLoop.processorTime, spentBefore = spent
        send()
        let time = EventLoop.processorTime - began - (spent - spentBefore), now = total()
        // With a lane goes what it has counted.
        policy.sent(bytes: now - min(sent, now), nanoseconds: time)
        sent = now
    }
}
