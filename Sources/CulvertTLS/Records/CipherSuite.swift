/// The cipher suites of TLS 1.3 that we offer, by their number on the wire (RFC 8446, B.4).
enum CipherSuite: UInt16 {
    case aes128GCM = 0x1301
    case aes256GCM = 0x1302
    case chaCha20Poly1305 = 0x1303

    /// Nonce and authentication tag are the same for all three (RFC 5116, RFC 8439).
    static let nonceLength = 12
    static let tagLength = 16

    var keyLength: Int { self == .aes128GCM ? 16 : 32 }

    /// Of the digest that goes with the suite, and so of a traffic secret.
    var digestLength: Int { self == .aes256GCM ? 48 : 32 }

    /// As IANA lists it.
    var name: String {
        switch self {
        case .aes128GCM: "TLS_AES_128_GCM_SHA256"
        case .aes256GCM: "TLS_AES_256_GCM_SHA384"
        case .chaCha20Poly1305: "TLS_CHACHA20_POLY1305_SHA256"
        }
    }
}
