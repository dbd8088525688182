import BenchSockets

/// The first 16 bytes of each stream: what the near end of a benchmark wants of the far one.
enum BenchRequest: UInt8, CaseIterable {
    /// Read to the end, then answer with the number of bytes and 0.
    case count = 1
    /// The same, with the digest of the bytes.
    case digest
    /// Send back each 64 bytes.
    case echo
    /// Answer with the nanoseconds of CPU time that the process which connected has used, the far relay's; 0: unknown.
    case processorTime

    static let length = 16
    private static let magic = Array("culvert-bench/1".utf8)

    var bytes: [UInt8] { Self.magic + [rawValue] }

    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.starts(with: Self.magic), bytes.count == Self.length else { return nil }
        self.init(rawValue: bytes[bytes.index(bytes.startIndex, offsetBy: Self.magic.count)])
    }
}

/// What the far end says when it is done: two numbers, big-endian.
struct BenchAnswer: Equatable {
    var count: UInt64
    var detail: UInt64

    static let length = 16

    var bytes: [UInt8] {
        [count, detail].flatMap { number in withUnsafeBytes(of: number.bigEndian) { Array($0) } }
    }

    init(count: UInt64, detail: UInt64 = 0) {
        self.count = count
        self.detail = detail
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        count = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
        detail = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
}

/// FNV-1a: tells bytes that were lost, doubled or changed by accident.
struct Digest {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }
}

/// What a request and its answer are about, in bytes.
enum BenchSize {
    /// Of a request for an echo.
    static let echo = 64
    /// Most bytes a system call.
    static let block = 256 << 10
    /// Of the stream that is verified before anything is timed.
    static let verified = 8 << 20
}
