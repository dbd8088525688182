import Glibc

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
///
/// Chunks that nobody needs lose their pages and keep their addresses: what a burst took goes back to the system although the
/// C library's heap does not shrink.
public final class ChunkPool {
    /// Chunks that lose their pages in one call of `rest`: that takes a millisecond or two.
    static let mostAtOnce = 512

    private var free: [Chunk] = []
    /// Without pages.
    private(set) var cold: [Chunk] = []
    /// The fewest that were free at once since `rest` was called last: nobody has needed these.
    private var unneeded = 0
    /// Bytes handed out now.
    public private(set) var inUse = 0

    public init() {}

    deinit {
        for chunk in free + cold { chunk.memory.deallocate() }
    }

    func take() -> Chunk {
        inUse += Chunk.size
        let chunk = free.popLast() ?? cold.popLast() ?? Chunk(memory: .allocate(byteCount: Chunk.size, alignment: 4096))
        unneeded = min(unneeded, free.count)
        return chunk
    }

    func give(_ chunk: Chunk) {
        inUse -= Chunk.size
        free.append(chunk)
    }

    /// To be called about once a second: gives the pages back of what has not been needed since the last call.
    public func rest() {
        let count = min(unneeded, Self.mostAtOnce)
        for chunk in free[..<count] { madvise(chunk.memory, Chunk.size, MADV_DONTNEED) }
        cold += free[..<count]
        free.removeFirst(count)
        unneeded = free.count
    }
}
