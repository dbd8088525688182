import COpenSSL

/// The secret from which the keys of one direction come. Wiped when it goes.
final class TrafficSecret {
    let suite: CipherSuite
    private let bytes: UnsafeMutableRawBufferPointer

    /// `fill` writes the secret, `suite.secretLength` bytes.
    init(_ suite: CipherSuite, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        self.suite = suite
        bytes = .allocate(byteCount: suite.secretLength, alignment: 16)
        fill(bytes)
    }

    deinit {
        OPENSSL_cleanse(bytes.baseAddress, bytes.count)
        bytes.deallocate()
    }

    /// The secret after a key update (RFC 8446, 7.2).
    func next() -> TrafficSecret {
        TrafficSecret(suite) { expand("traffic upd", into: $0) }
    }

    /// HKDF-Expand-Label without context (RFC 8446, 7.1; RFC 5869, 2.3) of at most one digest's length, which needs
    /// a single HMAC.
    func expand(_ label: String, into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count <= suite.secretLength)
        let label = Array("tls13 \(label)".utf8)
        let info = [0, UInt8(output.count), UInt8(label.count)] + label + [0, 1]
        withUnsafeTemporaryAllocation(byteCount: Int(EVP_MAX_MD_SIZE), alignment: 16) { digest in
            let done = HMAC(
                suite.digest, bytes.baseAddress, Int32(bytes.count), info, info.count, digest.baseAddress, nil)
            precondition(done != nil, "HMAC cannot fail on memory")
            output.copyMemory(from: UnsafeRawBufferPointer(rebasing: digest[..<output.count]))
            OPENSSL_cleanse(digest.baseAddress, digest.count)
        }
    }
}
