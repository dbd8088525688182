/// A piece of buffer memory: 64 KiB, of which the first `headroom` bytes are kept free for a frame header.
///
/// With its header a full chunk is exactly four TLS records of 16 KiB.
struct Chunk {
    static let size = 64 << 10
    static let headroom = WireLimit.dataHeader
    /// Bytes of a stream that a chunk holds.
    static let capacity = size - headroom

    let memory: UnsafeMutableRawPointer

    /// The stream bytes at `position`, which has at least `headroom` bytes of the same chunk in front of it.
    func bytes(_ position: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
        assert(position >= 0 && count >= 0 && position + count <= Chunk.capacity)
        return UnsafeMutableRawBufferPointer(start: memory + Chunk.headroom + position, count: count)
    }
}

/// Recycles chunks, the last used first, so that what is in flight stays in the processor's cache.
/// Belongs to one thread.
public final class ChunkPool {
    private(set) var free: [Chunk] = []
    /// Chunks kept for reuse; above that, memory goes back to the system.
    private let spares: Int
    /// Bytes handed out now.
    public private(set) var inUse = 0
    /// Calls of `rest` since a chunk was taken.
    private var rests = 0

    /// - Parameter spares: idle chunks of 64 KiB to keep.
    public init(spares: Int = 128) { self.spares = spares }

    deinit {
        for chunk in free { chunk.memory.deallocate() }
    }

    func take() -> Chunk {
        inUse += Chunk.size
        rests = 0
        return free.popLast() ?? Chunk(memory: .allocate(byteCount: Chunk.size, alignment: 4096))
    }

    func give(_ chunk: Chunk) {
        inUse -= Chunk.size
        if free.count < spares { free.append(chunk) } else { chunk.memory.deallocate() }
    }

    /// Called at intervals, gives all spare chunks back once nobody has taken any for a whole one.
    /// - Returns: whether it did so now.
    public func rest() -> Bool {
        rests += 1
        guard rests == 2 else { return false }
        for chunk in free { chunk.memory.deallocate() }
        free = []
        return true
    }
}
