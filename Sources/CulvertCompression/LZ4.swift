import CLZ4

/// LZ4 blocks: each stands for itself, so that any of them can be lost, repeated or come early.
public final class LZ4 {
    /// The library's working memory for one block, 16 KiB; no block depends on the one before.
    private let state = UnsafeMutableRawPointer.allocate(byteCount: Int(LZ4_sizeofState()), alignment: 8)

    public init() {}

    deinit { state.deallocate() }

    /// - Parameter room: where the block goes; it is given up as soon as it does not fit.
    /// - Returns: the block's size, or nil if it is larger than `room`.
    public func compress(_ plain: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer) -> Int? {
        let count = LZ4_compress_fast_extState(
            state, plain.baseAddress?.assumingMemoryBound(to: CChar.self),
            room.baseAddress?.assumingMemoryBound(to: CChar.self), CInt(plain.count), CInt(room.count), 1)
        return count > 0 ? Int(count) : nil
    }

    /// - Returns: whether `block` is sound and fills `plain` exactly. It never writes beyond, whatever the block says.
    public func decompress(_ block: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer) -> Bool {
        let count = LZ4_decompress_safe(
            block.baseAddress?.assumingMemoryBound(to: CChar.self), plain.baseAddress?.assumingMemoryBound(to: CChar.self),
            CInt(block.count), CInt(plain.count))
        return count == CInt(plain.count)
    }
}
