import COpenSSL

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
