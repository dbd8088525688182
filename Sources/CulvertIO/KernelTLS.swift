import CLinux

/// TLS records made and read by the kernel.
public enum KernelTLS {
    /// Linux has it as a module, `tls`, which asking for it loads where that is allowed.
    public static let isAvailable = clinux_has_kernel_tls() == 1
}

extension Descriptor {
    /// From now on, what is written to this TCP connection goes out as records, or what is read from it is taken out of
    /// records: of TLS 1.3 with AES-GCM (RFC 8446, 5.2 and 5.3). Once for each direction.
    ///
    /// - Parameters:
    ///   - key: 16 or 32 bytes.
    ///   - nonce: the initialization vector, 12 bytes.
    ///   - sequence: the number of the next record.
    public borrowing func startKernelTLS(
        sending: Bool, key: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer, sequence: UInt64
    ) throws(IOError) {
        var result = clinux_start_kernel_tls(rawValue)
        guard result == 0 else { throw IOError(errno: -result, operation: "let the kernel do TLS") }
        result = clinux_set_kernel_tls_key(rawValue, sending ? 1 : 0, key.baseAddress, key.count, nonce.baseAddress, sequence)
        guard result == 0 else { throw IOError(errno: -result, operation: "give the kernel a TLS key") }
    }
}
