import ArgumentParser
import Glibc

/// An endless sequence of bytes that sender and receiver both know: the offset decides the byte.
final class Pattern {
    enum Content: String, ExpressibleByArgument, CaseIterable { case random, zero }

    /// After so many bytes the sequence repeats. Larger than any cache, as a guest's memory is; and a prime, so that
    /// bytes displaced by a multiple of some buffer's size do not pass for the right ones.
    static let period = 67_108_859

    /// One period and the beginning of the next, so that every range lies in one piece.
    private let bytes: UnsafeMutableRawBufferPointer

    init(_ content: Content, longestRange: Int) {
        let count = Self.period + longestRange
        bytes = .allocate(byteCount: (count + 7) & ~7, alignment: 4096)
        switch content {
        case .zero: bytes.initializeMemory(as: UInt8.self, repeating: 0)
        case .random: Self.fill(bytes)
        }
        var copied = Self.period
        while copied < count {
            let part = min(Self.period, count - copied)
            memcpy(bytes.baseAddress! + copied, bytes.baseAddress!, part)
            copied += part
        }
    }

    deinit { bytes.deallocate() }

    func range(at offset: Int, count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[(offset % Self.period)...].prefix(count))
    }

    func matches(_ other: Slice<UnsafeMutableRawBufferPointer>, at offset: Int) -> Bool {
        let expected = range(at: offset, count: other.count)
        return memcmp(UnsafeRawBufferPointer(rebasing: other).baseAddress!, expected.baseAddress!, other.count) == 0
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), from a fixed seed so that both ends make the same.
    private static func fill(_ bytes: UnsafeMutableRawBufferPointer) {
        var state: UInt64 = 0x6375_6c76_6572_7421
        for offset in stride(from: 0, to: bytes.count, by: 8) {
            state &+= 0x9e37_79b9_7f4a_7c15
            var word = state
            word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
            word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
            bytes.storeBytes(of: word ^ (word >> 31), toByteOffset: offset, as: UInt64.self)
        }
    }
}
