import Glibc

/// Bytes of which every position of every stream is known: each stream reads the same random ring from another start.
///
/// The ring's length is a prime, so that no loss or repeat of whole buffers looks like nothing.
final class Pattern: Sendable {
    private static let period = 1_048_573
    /// Longest piece that can be had at once.
    static let longestPiece = 256 << 10
    /// The ring, and its beginning once more behind it.
    private let bytes: [UInt8]

    init(seed: UInt64) {
        var random = Randomness(seed: seed)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.period + Self.longestPiece)
        for _ in 0...Self.period / 8 { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
        bytes.removeLast(bytes.count - Self.period)
        bytes += bytes[..<Self.longestPiece]
        self.bytes = bytes
    }

    /// The `count` bytes from `offset` on of the stream that starts at `key`.
    func withPiece<Result>(
        _ key: UInt64, offset: Int, count: Int, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        let start = Int((key &+ UInt64(offset)) % UInt64(Self.period))
        return try bytes.withUnsafeBytes {
            try body(UnsafeRawBufferPointer(rebasing: $0[start..<start + min(count, Self.longestPiece)]))
        }
    }

    func matches(_ received: UnsafeRawBufferPointer, _ key: UInt64, offset: Int) -> Bool {
        withPiece(key, offset: offset, count: received.count) { memcmp($0.baseAddress!, received.baseAddress!, received.count) == 0 }
    }
}
