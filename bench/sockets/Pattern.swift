import Glibc

/// An endless sequence of bytes that sender and receiver both know: the offset decides the byte.
public final class Pattern: Sendable {
    public enum Content: String, CaseIterable, Sendable {
        /// No compressor shrinks it.
        case random
        case zero
        /// Words and spaces, which a compressor shrinks as it does prose.
        case text
    }

    /// After so many bytes what we make repeats. Larger than any cache, as a guest's memory is; and a prime, so that
    /// bytes displaced by a multiple of some buffer's size do not pass for the right ones.
    public static let period = 67_108_859

    /// One period.
    private nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer

    public init(_ content: Content) {
        let pages = mmap(nil, Self.period, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let pages, pages != MAP_FAILED else { fatalError("out of memory") }
        bytes = UnsafeMutableRawBufferPointer(start: pages, count: Self.period)
        switch content {
        case .zero: bytes.initializeMemory(as: UInt8.self, repeating: 0)
        case .random: Self.fillRandomly(bytes)
        case .text: Self.fillWithText(bytes)
        }
    }

    /// The bytes of a file, over and over: a captured migration stream, for example.
    /// - Throws: also if the file is empty.
    public init(file path: String) throws(SocketError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SocketError("read", path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SocketError("read", path) }
        let count = Int(status.st_size)
        guard count > 0 else { throw SocketError(description: "cannot send \(path): it is empty, or no plain file") }
        let pages = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0)
        guard let pages, pages != MAP_FAILED else { throw SocketError("map", path) }
        bytes = UnsafeMutableRawBufferPointer(start: pages, count: count)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }

    /// The bytes from `offset` on, at least one and at most `count`: fewer where a period ends.
    public func piece(at offset: Int, atMost count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[(offset % bytes.count)...].prefix(count))
    }

    public func matches(_ other: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        var compared = 0
        while compared < other.count {
            let expected = piece(at: offset + compared, atMost: other.count - compared)
            guard memcmp(other.baseAddress! + compared, expected.baseAddress!, expected.count) == 0 else { return false }
            compared += expected.count
        }
        return true
    }

    private static func fillRandomly(_ bytes: UnsafeMutableRawBufferPointer) {
        var random = SplitMix64()
        for offset in stride(from: 0, to: bytes.count - 7, by: 8) {
            bytes.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
    }

    /// A mebibyte of words, repeated: more than any compressor of streams looks back.
    private static func fillWithText(_ bytes: UnsafeMutableRawBufferPointer) {
        let words = """
            the guest of this host moves memory pages over a stream to another and while it runs writes them again then
            stands still for so long as the last of them take which is what its users see if they see anything at all
            """.split(whereSeparator: \.isWhitespace).map { Array($0.utf8) + [0x20] }
        var random = SplitMix64()
        var text: [UInt8] = []
        while text.count < 1 << 20 { text += words[Int(random.next() % UInt64(words.count))] }
        for offset in stride(from: 0, to: bytes.count, by: text.count) {
            _ = text.withUnsafeBytes { memcpy(bytes.baseAddress! + offset, $0.baseAddress!, min($0.count, bytes.count - offset)) }
        }
    }
}

/// Steele, Lea, Flood 2014; from a fixed seed so that both ends make the same.
private struct SplitMix64 {
    private var state: UInt64 = 0x6375_6c76_6572_7421

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }
}
