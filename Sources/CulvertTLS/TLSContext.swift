import COpenSSL

/// Where the credentials lie, all PEM.
public struct TLSFiles: Sendable, Equatable {
    public var ca: String
    public var certificate: String
    public var key: String

    public init(ca: String, certificate: String, key: String) {
        self.ca = ca
        self.certificate = certificate
        self.key = key
    }
}

/// Loaded credentials and settings from which engines are made; immutable, so a reload makes a new one.
public final class TLSContext: Sendable {
    /// For people: what should be seen to but does not keep the credentials from working now.
    public let warnings: [String]

    let credentials: Credentials
    /// Owned. An `SSL_CTX` counts its references itself, and nothing changes it after `init`.
    private nonisolated(unsafe) let context: OpaquePointer

    /// Reads the files. A peer is accepted only with a certificate that leads to one in `files.ca`; the system's store of
    /// authorities plays no part.
    /// - Throws: `TLSError` with code `credentials`, which names the file at fault.
    public init(files: TLSFiles) throws(TLSError) {
        credentials = try Credentials(files: files)
        warnings = credentials.warnings
        context = try Self.configure(credentials)
    }

    deinit { SSL_CTX_free(context) }

    public func makeEngine(_ role: TLSRole) throws(TLSError) -> any TLSEngine {
        ErrorQueue.clear()
        guard let ssl = SSL_new(context) else {
            throw TLSError(.handshake, "OpenSSL cannot make a connection: \(ErrorQueue.takeText())")
        }
        let handshake = try OpenSSLHandshake(owning: ssl, role: role, credentials: credentials)
        return OpenSSLEngine(handshake, credentials: credentials)
    }
}

extension TLSContext {
    /// Most hardware has AES instructions, so AES goes first; ChaCha20 serves peers without.
    private static let cipherSuites =
        "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
    private static let groups = "X25519:P-256:P-384"

    private static func configure(_ credentials: Credentials) throws(TLSError) -> OpaquePointer {
        ErrorQueue.clear()
        guard let context = SSL_CTX_new(TLS_method()) else {
            throw TLSError(.credentials, "OpenSSL cannot start: \(ErrorQueue.takeText())")
        }
        do throws(TLSError) {
            try restrict(context)
            try install(credentials, in: context)
            return context
        } catch {
            SSL_CTX_free(context)
            throw error
        }
    }

    /// TLS 1.3 with our ALPN, both sides authenticated, nothing resumed.
    private static func restrict(_ context: OpaquePointer) throws(TLSError) {
        let done =
            COpenSSL_SSL_CTX_set_protocol_versions(context, TLS1_3_VERSION, TLS1_3_VERSION) == 1
            && SSL_CTX_set_ciphersuites(context, cipherSuites) == 1
            && COpenSSL_SSL_CTX_set1_groups_list(context, groups) == 1
            && SSL_CTX_set_num_tickets(context, 0) == 1
            && ApplicationProtocol.require(in: context)
        guard done else { throw TLSError(.credentials, "OpenSSL refuses its settings: \(ErrorQueue.takeText())") }
        SSL_CTX_set_security_level(context, 2)
        SSL_CTX_set_options(context, COpenSSL_SSL_OP_CIPHER_SERVER_PREFERENCE | COpenSSL_SSL_OP_NO_TICKET)
        _ = COpenSSL_SSL_CTX_set_session_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        // A chain is what the certificate's file holds, never completed from the CA file.
        _ = COpenSSL_SSL_CTX_set_mode(context, Int(SSL_MODE_NO_AUTO_CHAIN))
        OpenSSLHandshake.observe(context)
    }

    private static func install(_ credentials: Credentials, in context: OpaquePointer) throws(TLSError) {
        let store = SSL_CTX_get_cert_store(context)
        for authority in credentials.authorities where X509_STORE_add_cert(store, authority.x509) != 1 {
            throw TLSError(
                .credentials, "CA file \(credentials.files.ca): \(authority.subject): \(ErrorQueue.takeText())")
        }
        var done = SSL_CTX_use_certificate(context, credentials.certificate.x509) == 1
        for intermediate in credentials.chain.dropFirst() where done {
            done = COpenSSL_SSL_CTX_add1_chain_cert(context, intermediate.x509) == 1
        }
        guard done else {
            throw TLSError(
                .credentials, "certificate \(credentials.files.certificate): OpenSSL refuses it: \(ErrorQueue.takeText())")
        }
        guard SSL_CTX_use_PrivateKey(context, credentials.key.pkey) == 1 else {
            throw TLSError(.credentials, "key \(credentials.files.key): OpenSSL refuses it: \(ErrorQueue.takeText())")
        }
    }
}
