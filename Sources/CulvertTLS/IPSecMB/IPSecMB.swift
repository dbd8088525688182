import CGnuTLS
import CIPSecMB
import COpenSSL

/// AES-GCM by libipsec-mb, which has code for VAES and AVX-512 that Debian 12's OpenSSL and GnuTLS lack. It only makes and
/// reads records; keys come from the library that shook hands.
final class IPSecMB: Sendable {
    /// Never freed; a loaded library does not change.
    nonisolated(unsafe) let library: OpaquePointer
    /// For people, for example `ipsec-mb 1.3.0`.
    let name: String

    struct Unavailable: Error, Equatable {
        /// For people.
        let reason: String
    }

    /// What every context that may use it does use.
    static let shared = Result { () throws(Unavailable) in try IPSecMB() }

    /// Loads the library and tries it out.
    /// - Parameters:
    ///   - version: the one whose structures we know, major and minor in the upper two of three bytes.
    ///   - features: of the CPU, as the library numbers them.
    init(
        name: String = String(cString: cipsecmb_name), version: UInt32 = cipsecmb_version,
        features: UInt64 = cipsecmb_features, validatedOnly: Bool = hostWantsValidatedCiphers
    ) throws(Unavailable) {
        guard !validatedOnly else { throw Unavailable(reason: "this host wants ciphers that are validated for FIPS 140") }
        let capacity = 256
        let (found, reason) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { text in
            text.initialize(repeating: 0)
            let found = cipsecmb_load(name, version, features, text.baseAddress, capacity)
            return (found, String(cString: text.baseAddress!))
        }
        guard let found else { throw Unavailable(reason: reason) }
        library = found
        self.name = "ipsec-mb \(String(cString: cipsecmb_version_text(found)))"
        guard passesSelfTest() else { throw Unavailable(reason: "it does not compute what it should") }
    }

    /// OpenSSL and GnuTLS know of it by their own configuration.
    static var hostWantsValidatedCiphers: Bool {
        EVP_default_properties_is_fips_enabled(nil) == 1 || gnutls_fips140_mode_enabled() != 0
    }

    /// Whether it has anything better for the suite.
    func does(_ suite: CipherSuite) -> Bool { suite != .chaCha20Poly1305 }

    /// - Returns: nil if it does not do the suite.
    func makeAEAD(_ suite: CipherSuite, key: UnsafeRawBufferPointer) -> (any AEAD)? {
        does(suite) ? IPSecMBAEAD(library, key: key) : nil
    }
}

/// - Note: What the library offers for several records at a time, jobs and bursts, is no faster than this for AES-GCM.
final class IPSecMBAEAD: AEAD {
    private let key: OpaquePointer
    private let headerLength: Int

    /// - Parameter headerLength: published examples have longer ones than records.
    init(_ library: OpaquePointer, key: UnsafeRawBufferPointer, headerLength: Int = RecordCipher.headerLength) {
        guard let made = cipsecmb_key_make(library, key.baseAddress, key.count) else { fatalError("out of memory") }
        self.key = made
        self.headerLength = headerLength
    }

    deinit { cipsecmb_key_free(key) }

    func seal(
        _ plaintext: UnsafeRawBufferPointer, _ type: UInt8, nonce: UnsafeRawPointer, header: UnsafeRawPointer,
        into body: UnsafeMutableRawPointer
    ) {
        cipsecmb_seal(key, nonce, header, headerLength, plaintext.baseAddress, plaintext.count, type, body)
    }

    func open(
        _ body: UnsafeRawBufferPointer, nonce: UnsafeRawPointer, header: UnsafeRawPointer,
        into plaintext: UnsafeMutableRawPointer
    ) -> Bool {
        let count = body.count - CipherSuite.tagLength
        return withUnsafeTemporaryAllocation(byteCount: CipherSuite.tagLength, alignment: 16) { tag in
            cipsecmb_open(key, nonce, header, headerLength, body.baseAddress, count, plaintext, tag.baseAddress)
            return CRYPTO_memcmp(tag.baseAddress, body.baseAddress! + count, CipherSuite.tagLength) == 0
        }
    }
}
