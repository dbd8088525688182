/// Bytes that wait to be taken, first in first out.
struct ByteQueue {
    private var bytes: [UInt8] = []
    /// Of `bytes`, what is gone already.
    private var taken = 0

    var count: Int { bytes.count - taken }

    mutating func append(_ more: UnsafeRawBufferPointer) { bytes.append(contentsOf: more) }

    mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }

    /// Moves as much as fits into `buffer`; returns how much.
    mutating func drain(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(count, buffer.count)
        guard count > 0 else { return 0 }
        bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[taken ..< taken + count])) }
        taken += count
        if taken == bytes.count {
            bytes.removeAll()
            taken = 0
        }
        return count
    }
}
