import COpenSSL

/// An `SSL_CTX` with our credentials and settings.
final class OpenSSLContext: HandshakeSource {
    /// 112 bits, as SSL_CTX_set_security_level(3) has it.
    static let securityLevel: Int32 = 2
    /// Most hardware has AES instructions, so AES goes first; ChaCha20 serves peers without.
    private static let cipherSuites: [CipherSuite] = [.aes256GCM, .chaCha20Poly1305, .aes128GCM]
    /// A pre-shared key goes with one digest (RFC 8446, 4.2.11). It is SHA-256 unless agreed otherwise, which is all that
    /// GnuTLS 3.7 knows.
    static let cipherSuitesForKeys: [CipherSuite] = [.aes128GCM, .chaCha20Poly1305]
    /// To OpenSSL a pre-shared key is a session, which it wants to belong to something of a name.
    static let sessions = Array("culvert".utf8)
    private static let groups = "X25519:P-256:P-384"

    private let credentials: TLSCredentials
    /// Owned. An `SSL_CTX` counts its references itself, and nothing changes it after `init`.
    private nonisolated(unsafe) let context: OpaquePointer

    init(_ credentials: TLSCredentials) throws(TLSError) {
        ErrorQueue.clear()
        guard let context = SSL_CTX_new(TLS_method()) else {
            throw TLSError(.credentials, "OpenSSL cannot start: \(ErrorQueue.takeText())")
        }
        self.context = context
        self.credentials = credentials
        switch credentials {
        case .certificates(let certificates):
            try restrict(to: Self.cipherSuites)
            try install(certificates)
        case .keys:
            try restrict(to: Self.cipherSuitesForKeys)
        }
        OpenSSLHandshake.observe(context, credentials)
    }

    deinit { SSL_CTX_free(context) }

    func makeHandshake(_ role: TLSRole, with peer: String?) throws(TLSError) -> any Handshake {
        ErrorQueue.clear()
        guard let ssl = SSL_new(context) else {
            throw TLSError(.handshake, "OpenSSL cannot make a connection: \(ErrorQueue.takeText())")
        }
        return try OpenSSLHandshake(owning: ssl, role: role, credentials: credentials, peer: peer)
    }

    /// TLS 1.3 with our ALPN, both sides authenticated, nothing resumed.
    private func restrict(to suites: [CipherSuite]) throws(TLSError) {
        let done =
            COpenSSL_SSL_CTX_set_protocol_versions(context, TLS1_3_VERSION, TLS1_3_VERSION) == 1
            && SSL_CTX_set_ciphersuites(context, suites.map(\.name).joined(separator: ":")) == 1
            && COpenSSL_SSL_CTX_set1_groups_list(context, Self.groups) == 1
            && SSL_CTX_set_num_tickets(context, 0) == 1
            && SSL_CTX_set_session_id_context(context, Self.sessions, UInt32(Self.sessions.count)) == 1
        guard done else { throw TLSError(.credentials, "OpenSSL refuses its settings: \(ErrorQueue.takeText())") }
        SSL_CTX_set_security_level(context, Self.securityLevel)
        SSL_CTX_set_options(context, COpenSSL_SSL_OP_CIPHER_SERVER_PREFERENCE | COpenSSL_SSL_OP_NO_TICKET)
        _ = COpenSSL_SSL_CTX_set_session_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        // A chain is what the certificate's file holds, never completed from the CA file.
        _ = COpenSSL_SSL_CTX_set_mode(context, Int(SSL_MODE_NO_AUTO_CHAIN))
    }

    private func install(_ credentials: CertificateCredentials) throws(TLSError) {
        let files = credentials.files
        let store = SSL_CTX_get_cert_store(context)
        for authority in credentials.authorities where X509_STORE_add_cert(store, authority.x509) != 1 {
            throw TLSError(.credentials, "CA file \(files.ca): \(authority.subject): \(ErrorQueue.takeText())")
        }
        if let revoked = credentials.revoked, !revoked.use(in: store) {
            throw TLSError(.credentials, "revocation list \(files.revoked ?? ""): \(ErrorQueue.takeText())")
        }
        var done = SSL_CTX_use_certificate(context, credentials.certificate.x509) == 1
        for intermediate in credentials.chain.dropFirst() where done {
            done = COpenSSL_SSL_CTX_add1_chain_cert(context, intermediate.x509) == 1
        }
        guard done else {
            throw TLSError(
                .credentials, "certificate \(files.certificate): OpenSSL refuses it: \(ErrorQueue.takeText())")
        }
        guard SSL_CTX_use_PrivateKey(context, credentials.key.pkey) == 1 else {
            throw TLSError(.credentials, "key \(files.key): OpenSSL refuses it: \(ErrorQueue.takeText())")
        }
    }
}
