/// Memory that is filled at the end and emptied at the front. Invariant: `0 ≤ start ≤ end ≤ capacity`.
struct LinearBuffer: ~Copyable {
    private let memory: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0

    init(capacity: Int) { memory = .allocate(byteCount: capacity, alignment: 4096) }

    deinit { memory.deallocate() }

    var count: Int { end - start }
    var isEmpty: Bool { start == end }
    var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[start..<end]) }
    var writable: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: memory[end...]) }

    mutating func produce(_ count: Int) {
        end += count
        precondition(end <= memory.count, "produced past the end")
    }

    mutating func consume(_ count: Int) {
        start += count
        precondition(start <= end, "consumed past the end")
        if start == end { removeAll() }
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        writable.copyMemory(from: bytes)
        produce(bytes.count)
    }

    mutating func removeAll() {
        start = 0
        end = 0
    }

    /// Moves what is readable to the beginning.
    mutating func compact() {
        guard start > 0 else { return }
        memory.copyMemory(from: readable)
        end -= start
        start = 0
    }
}
