import Glibc

/// A stretch of a stream, `start ..< end` in absolute offsets, held in chunks; behind it there may be bytes that were placed
/// ahead of a gap.
///
/// Invariant: `start ≤ end ≤ reach`; the chunks are those that hold anything in `start ..< reach`, and there is none when
/// that is empty.
struct ByteQueue: ~Copyable {
    private let pool: ChunkPool
    private var chunks = Fifo<Chunk>()
    /// Offset of the first chunk's first byte.
    private var base: UInt64 = 0
    private(set) var start: UInt64 = 0
    private(set) var end: UInt64 = 0
    /// Where the last byte that was placed ahead ends; `end` if there is none.
    private(set) var reach: UInt64 = 0

    init(pool: ChunkPool) { self.pool = pool }

    deinit {
        for index in 0..<chunks.count { pool.give(chunks[index]) }
    }

    var count: Int { Int(end - start) }
    var isEmpty: Bool { start == end }
    /// Memory held, in bytes.
    var allocated: Int { chunks.count * Chunk.size }

    /// Bytes that can be written without more memory.
    var slack: Int { chunks.isEmpty ? 0 : chunks.count * Chunk.capacity - Int(end - base) }

    /// Lets `fill` write behind the end and says how much it wrote.
    /// - Parameter limit: most bytes to make room for, above 0.
    mutating func write<Result>(
        upTo limit: Int, _ fill: (UnsafeBufferPointer<iovec>) -> (count: Int, result: Result)
    ) -> Result {
        prepare(upTo: limit)
        let used = Int(end - base)
        let wanted = (used + limit + Chunk.capacity - 1) / Chunk.capacity
        let first = used / Chunk.capacity
        let (count, result) = withUnsafeTemporaryAllocation(of: iovec.self, capacity: wanted - first) { vectors in
            var position = used % Chunk.capacity, remaining = limit
            for index in first..<wanted {
                let space = chunks[index].bytes(position, min(Chunk.capacity - position, remaining))
                vectors.initializeElement(
                    at: index - first, to: iovec(iov_base: space.baseAddress, iov_len: space.count))
                remaining -= space.count
                position = 0
            }
            return fill(UnsafeBufferPointer(rebasing: vectors[..<(wanted - first)]))
        }
        precondition(count >= 0 && count <= limit, "wrote outside of the prepared space")
        end += UInt64(count)
        reach = max(reach, end)
        trimTail()
        return result
    }

    /// Has chunks for `count` bytes behind the end.
    private mutating func prepare(upTo count: Int) {
        if chunks.isEmpty { base = end }
        let wanted = (Int(end - base) + count + Chunk.capacity - 1) / Chunk.capacity
        while chunks.count < wanted { chunks.append(pool.take()) }
    }

    /// Puts bytes where they belong, behind a gap or not; `extend` makes them part of the stretch.
    /// - Precondition: `end <= offset`.
    mutating func place(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        precondition(offset >= end)
        prepare(upTo: Int(offset - end) + bytes.count)
        var rest = bytes, position = Int(offset - base)
        while !rest.isEmpty {
            let within = position % Chunk.capacity
            let space = chunks[position / Chunk.capacity].bytes(within, min(rest.count, Chunk.capacity - within))
            space.copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<space.count]))
            rest = UnsafeRawBufferPointer(rebasing: rest[space.count...])
            position += space.count
        }
        reach = max(reach, offset + UInt64(bytes.count))
    }

    /// The gap in front of `offset` is closed.
    /// - Precondition: everything before `offset` was written or placed.
    mutating func extend(to offset: UInt64) {
        precondition(offset >= end && offset <= reach)
        end = offset
    }

    /// Gives up what was placed ahead of a gap.
    mutating func forgetAhead() {
        reach = end
        trimTail()
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        write(upTo: bytes.count) { spaces in
            var copied = 0
            for space in spaces {
                memcpy(space.iov_base!, bytes.baseAddress! + copied, space.iov_len)
                copied += space.iov_len
            }
            return (copied, ())
        }
    }

    /// The longest run of memory from `offset` on, at most `limit` bytes and not empty.
    func contiguous(from offset: UInt64, limit: Int) -> UnsafeMutableRawBufferPointer {
        precondition(offset >= start && offset < end)
        let position = Int(offset - base)
        let within = position % Chunk.capacity
        let count = min(limit, Int(end - offset), Chunk.capacity - within)
        return chunks[position / Chunk.capacity].bytes(within, count)
    }

    /// Lets `drain` read from the start, in at most `pieces` pieces.
    func read<Result>(pieces: Int, _ drain: (UnsafeBufferPointer<iovec>) -> Result) -> Result {
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: pieces) { vectors in
            var offset = start, used = 0
            while offset < end && used < pieces {
                let run = contiguous(from: offset, limit: .max)
                vectors.initializeElement(at: used, to: iovec(iov_base: run.baseAddress, iov_len: run.count))
                offset += UInt64(run.count)
                used += 1
            }
            return drain(UnsafeBufferPointer(rebasing: vectors[..<used]))
        }
    }

    /// Forgets everything before `offset`.
    mutating func release(upTo offset: UInt64) {
        precondition(offset >= start && offset <= end)
        start = offset
        dropHead()
    }

    /// An empty queue may go on at a later offset.
    mutating func skip(to offset: UInt64) {
        precondition(isEmpty && offset >= end)
        start = offset
        end = offset
        reach = max(reach, offset)
        dropHead()
    }

    /// Gives back the chunks in front of the start.
    private mutating func dropHead() {
        guard !chunks.isEmpty else { return }
        let gone = start == reach ? chunks.count : Int(start - base) / Chunk.capacity
        for _ in 0..<gone { pool.give(chunks.popFirst()!) }
        base += UInt64(gone * Chunk.capacity)
    }

    /// Gives back the chunks behind the last byte.
    private mutating func trimTail() {
        let kept = start == reach ? 0 : (Int(reach - base) + Chunk.capacity - 1) / Chunk.capacity
        while chunks.count > kept { pool.give(chunks.removeLast()) }
    }
}
