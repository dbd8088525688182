import COpenSSL

/// The cipher suites of TLS 1.3 that we offer, by their number on the wire (RFC 8446, B.4).
enum CipherSuite: UInt16 {
    case aes128GCM = 0x1301
    case aes256GCM = 0x1302
    case chaCha20Poly1305 = 0x1303

    /// Nonce and authentication tag are the same for all three (RFC 5116, RFC 8439).
    static let nonceLength = 12
    static let tagLength = 16

    var keyLength: Int { self == .aes128GCM ? 16 : 32 }

    /// Of a traffic secret, which is a digest.
    var secretLength: Int { self == .aes256GCM ? 48 : 32 }

    var cipher: OpaquePointer {
        switch self {
        case .aes128GCM: EVP_aes_128_gcm()
        case .aes256GCM: EVP_aes_256_gcm()
        case .chaCha20Poly1305: EVP_chacha20_poly1305()
        }
    }

    var digest: OpaquePointer { self == .aes256GCM ? EVP_sha384() : EVP_sha256() }
}
