/// The secret from which the keys of one direction come. Wiped when it goes.
final class TrafficSecret {
    let suite: CipherSuite
    let library: any Cryptography.Type
    private let bytes: UnsafeMutableRawBufferPointer

    /// `fill` writes the secret, `suite.digestLength` bytes.
    init(_ suite: CipherSuite, _ library: any Cryptography.Type, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        self.suite = suite
        self.library = library
        bytes = .allocate(byteCount: suite.digestLength, alignment: 16)
        fill(bytes)
    }

    deinit {
        wipe(bytes)
        bytes.deallocate()
    }

    /// The secret after a key update (RFC 8446, 7.2).
    func next() -> TrafficSecret {
        TrafficSecret(suite, library) { expand("traffic upd", into: $0) }
    }

    /// HKDF-Expand-Label without context (RFC 8446, 7.1; RFC 5869, 2.3) of at most one digest's length, which needs
    /// a single HMAC.
    func expand(_ label: String, into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count <= suite.digestLength)
        let label = Array("tls13 \(label)".utf8)
        let info = [0, UInt8(output.count), UInt8(label.count)] + label + [0, 1]
        withUnsafeTemporaryAllocation(byteCount: suite.digestLength, alignment: 16) { digest in
            defer { wipe(digest) }
            library.authenticate(info, key: UnsafeRawBufferPointer(bytes), suite: suite, into: digest)
            output.copyMemory(from: UnsafeRawBufferPointer(rebasing: digest[..<output.count]))
        }
    }

    /// The key and the initialization vector that come from it (RFC 8446, 7.3), for as long as `body` runs.
    /// - Returns: false if the suite is not AES-GCM.
    func withKey<Failure: Error>(
        _ body: (_ key: UnsafeRawBufferPointer, _ nonce: UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        guard suite != .chaCha20Poly1305 else { return false }
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: suite.keyLength + CipherSuite.nonceLength, alignment: 16)
        defer {
            wipe(bytes)
            bytes.deallocate()
        }
        let key = UnsafeMutableRawBufferPointer(rebasing: bytes[..<suite.keyLength])
        let nonce = UnsafeMutableRawBufferPointer(rebasing: bytes[suite.keyLength...])
        expand("key", into: key)
        expand("iv", into: nonce)
        try body(UnsafeRawBufferPointer(key), UnsafeRawBufferPointer(nonce))
        return true
    }
}
