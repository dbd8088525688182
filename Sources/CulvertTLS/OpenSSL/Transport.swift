import COpenSSL

/// What an `SSL` takes for its network: reads come from the range fed to the engine, writes go to the caller's buffer and,
/// where there is none or it is full, to memory of our own.
final class Transport {
    private var input = UnsafeRawBufferPointer(start: nil, count: 0)
    private var target = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var pending: [UInt8] = []
    private var drained = 0

    /// Runs `body` with `range` as input; returns how much of it was left.
    func feeding<Result>(_ range: UnsafeRawBufferPointer, _ body: () -> Result) -> (Result, left: Int) {
        input = range
        defer { input = UnsafeRawBufferPointer(start: nil, count: 0) }
        let result = body()
        return (result, input.count)
    }

    /// Runs `body` with `buffer` as the place of what it writes, behind anything pending; returns how much there is of it.
    func writing<Result>(
        into buffer: UnsafeMutableRawBufferPointer, _ body: () -> Result
    ) -> (Result, written: Int) {
        target = UnsafeMutableRawBufferPointer(rebasing: buffer[drain(into: buffer)...])
        defer { target = UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        let result = body()
        return (result, buffer.count - target.count)
    }

    var pendingCount: Int { pending.count - drained }

    func drain(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(pendingCount, buffer.count)
        guard count > 0 else { return 0 }
        pending.withUnsafeBytes { bytes in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[drained ..< drained + count]))
        }
        drained += count
        if drained == pending.count {
            pending.removeAll()
            drained = 0
        }
        return count
    }

    fileprivate func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(input.count, buffer.count)
        guard count > 0 else { return 0 }
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<count]))
        input = UnsafeRawBufferPointer(rebasing: input[count...])
        return count
    }

    fileprivate func write(_ bytes: UnsafeRawBufferPointer) {
        // Once something is pending, the order of bytes forbids the target to whatever follows.
        let count = pendingCount == 0 ? min(bytes.count, target.count) : 0
        if count > 0 {
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            target = UnsafeMutableRawBufferPointer(rebasing: target[count...])
        }
        if count < bytes.count { pending.append(contentsOf: bytes[count...]) }
    }
}

extension Transport {
    /// A new BIO that refers to this transport without keeping it alive; nil if memory is exhausted.
    func makeBIO() -> OpaquePointer? {
        guard let bio = BIO_new(Self.method) else { return nil }
        BIO_set_data(bio, Unmanaged.passUnretained(self).toOpaque())
        BIO_set_init(bio, 1)
        return bio
    }

    private static func of(_ bio: OpaquePointer?) -> Transport {
        Unmanaged.fromOpaque(BIO_get_data(bio)).takeUnretainedValue()
    }

    private nonisolated(unsafe) static let method: OpaquePointer = {
        guard let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "culvert") else {
            fatalError("out of memory")
        }
        BIO_meth_set_read_ex(method) { bio, buffer, size, count in
            COpenSSL_BIO_clear_retry_flags(bio)
            let taken = Transport.of(bio).read(into: UnsafeMutableRawBufferPointer(start: buffer, count: size))
            count?.pointee = taken
            guard taken > 0 else {
                COpenSSL_BIO_set_retry_read(bio)
                return 0
            }
            return 1
        }
        BIO_meth_set_write_ex(method) { bio, bytes, size, count in
            COpenSSL_BIO_clear_retry_flags(bio)
            Transport.of(bio).write(UnsafeRawBufferPointer(start: bytes, count: size))
            count?.pointee = size
            return 1
        }
        BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        return method
    }()
}
