import CLinux

/// What one direction of a TLS 1.3 connection needs for its next record (RFC 8446, 5.2 and 5.3). AES-GCM only.
public struct KernelTLSKey {
    /// 16 or 32 bytes.
    public var key: UnsafeRawBufferPointer
    /// The initialization vector, 12 bytes.
    public var nonce: UnsafeRawBufferPointer
    /// The number of the next record.
    public var sequence: UInt64

    public init(key: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer, sequence: UInt64) {
        self.key = key
        self.nonce = nonce
        self.sequence = sequence
    }
}

/// TLS records made and read by the kernel.
public enum KernelTLS {
    /// Linux has it as a module, `tls`, which asking for it loads where that is allowed.
    public static let isAvailable = clinux_has_kernel_tls() == 1
}

extension Descriptor {
    /// From now on, what is written to this TCP connection goes out as records, or what is read from it is taken out of
    /// records. Once for each direction.
    public borrowing func startKernelTLS(_ key: KernelTLSKey, sending: Bool) throws(IOError) {
        var result = clinux_start_kernel_tls(rawValue)
        guard result == 0 else { throw IOError(errno: -result, operation: "let the kernel do TLS") }
        result = clinux_set_kernel_tls_key(
            rawValue, sending ? 1 : 0, key.key.baseAddress, key.key.count, key.nonce.baseAddress, key.sequence)
        guard result == 0 else { throw IOError(errno: -result, operation: "give the kernel a TLS key") }
    }
}
