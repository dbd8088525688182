/// Plaintext that goes from one thread to another as a whole. Whoever holds it is alone with it.
final class LaneBatch {
    /// Bytes. As much as a system call moves at most.
    static let capacity = 256 << 10

    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: LaneBatch.capacity, alignment: 4096)
    var count = 0

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<count]) }
    var room: Int { memory.count - count }

    func append(_ bytes: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(rebasing: memory[count...]).copyMemory(from: bytes)
        count += bytes.count
    }
}
