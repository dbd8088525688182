import CGnuTLS

/// GnuTLS's form of our credentials and settings.
final class GnuTLSContext: HandshakeSource {
    let credentials: TLSCredentials
    /// Owned, as is what it points to; nothing changes either after `init`.
    private nonisolated(unsafe) let priorities: OpaquePointer
    private nonisolated(unsafe) let handle: Handle

    private enum Handle {
        case certificates(OpaquePointer)
        case serverKeys(OpaquePointer)
    }

    /// AES first as with OpenSSL, but ChaCha20 last: GnuTLS does it at a tenth of the speed.
    private static let ciphers = "+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305"
    /// A pre-shared key goes with SHA-256; see `OpenSSLContext.cipherSuitesForKeys`.
    private static let ciphersForKeys = "+AES-128-GCM:+CHACHA20-POLY1305"

    init(_ credentials: TLSCredentials) throws(TLSError) {
        self.credentials = credentials
        switch credentials {
        case .certificates(let certificates):
            priorities = try Self.priorities(Self.ciphers, "+ECDHE-ECDSA:+ECDHE-RSA")
            do throws(TLSError) {
                handle = .certificates(try Self.install(certificates))
            } catch {
                gnutls_priority_deinit(priorities)
                throw error
            }
        case .keys:
            // Without a plain PSK exchange: a key that gets known one day must not open what was recorded.
            priorities = try Self.priorities(Self.ciphersForKeys, "+ECDHE-PSK")
            handle = .serverKeys(Self.serverKeys())
        }
    }

    deinit {
        switch handle {
        case .certificates(let certificates): gnutls_certificate_free_credentials(certificates)
        case .serverKeys(let keys): gnutls_psk_free_server_credentials(keys)
        }
        gnutls_priority_deinit(priorities)
    }

    func makeHandshake(_ role: TLSRole, with peer: String?) throws(TLSError) -> any Handshake {
        try GnuTLSHandshake(self, role: role, peer: peer)
    }

    /// Gives a new session our settings and credentials, save for the key of a client.
    func equip(_ session: OpaquePointer, _ role: TLSRole) -> Int32 {
        let result = gnutls_priority_set(session, priorities)
        guard result == 0 else { return result }
        switch handle {
        case .certificates(let certificates):
            return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(certificates))
        case .serverKeys(let keys) where role == .server:
            return gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(keys))
        case .serverKeys: return 0
        }
    }

    /// TLS 1.3 alone, with at least 112 bits of security, as OpenSSL's security level 2 has it.
    private static func priorities(_ ciphers: String, _ exchanges: String) throws(TLSError) -> OpaquePointer {
        let text = "NONE:+VERS-TLS1.3:\(ciphers):+AEAD:\(exchanges):+SIGN-ALL:+GROUP-X25519:+GROUP-SECP256R1:"
            + "+GROUP-SECP384R1:+CTYPE-X509:+COMP-NULL:%SERVER_PRECEDENCE:%PROFILE_MEDIUM"
        var priorities: OpaquePointer?
        let result = gnutls_priority_init(&priorities, text, nil)
        guard result == 0, let priorities else {
            throw TLSError(.credentials, "GnuTLS refuses its settings: \(gnutlsText(result))")
        }
        return priorities
    }

    private static func install(_ credentials: CertificateCredentials) throws(TLSError) -> OpaquePointer {
        var made: OpaquePointer?
        guard gnutls_certificate_allocate_credentials(&made) == 0, let made else { fatalError("out of memory") }
        do throws(TLSError) {
            let files = credentials.files
            var authorities: [UInt8] = [], chain: [UInt8] = []
            for authority in credentials.authorities { authorities += try authority.pem() }
            for certificate in credentials.chain { chain += try certificate.pem() }
            var key = try credentials.key.pem()
            defer { key.withUnsafeMutableBytes { wipe($0) } }
            let trusted = authorities.withDatum { gnutls_certificate_set_x509_trust_mem(made, &$0, GNUTLS_X509_FMT_PEM) }
            guard trusted > 0 else { throw TLSError(.credentials, "CA file \(files.ca): GnuTLS: \(gnutlsText(trusted))") }
            let taken = chain.withDatum { chain in
                key.withDatum { gnutls_certificate_set_x509_key_mem(made, &chain, &$0, GNUTLS_X509_FMT_PEM) }
            }
            guard taken >= 0 else {
                throw TLSError(.credentials, "certificate \(files.certificate): GnuTLS refuses it: \(gnutlsText(taken))")
            }
            return made
        } catch {
            gnutls_certificate_free_credentials(made)
            throw error
        }
    }

    private static func serverKeys() -> OpaquePointer {
        var made: OpaquePointer?
        guard gnutls_psk_allocate_server_credentials(&made) == 0, let made else { fatalError("out of memory") }
        gnutls_psk_set_server_credentials_function2(made) { session, user, key in
            guard let user, let key, let handshake = GnuTLSHandshake.of(session) else { return -1 }
            return handshake.findKey(UnsafeBufferPointer(start: user.pointee.data, count: Int(user.pointee.size)), key)
        }
        return made
    }
}

/// GnuTLS's words for one of its results.
func gnutlsText(_ result: Int32) -> String { String(cString: gnutls_strerror(result)) }

extension [UInt8] {
    /// GnuTLS takes ranges of bytes as mutable and only reads them.
    func withDatum<Result>(_ body: (inout gnutls_datum_t) -> Result) -> Result {
        withUnsafeBufferPointer { bytes in
            var datum = gnutls_datum_t(data: UnsafeMutablePointer(mutating: bytes.baseAddress), size: UInt32(bytes.count))
            return body(&datum)
        }
    }
}
