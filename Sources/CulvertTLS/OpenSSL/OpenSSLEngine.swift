import COpenSSL

/// A TLS engine on one OpenSSL connection.
final class OpenSSLEngine: TLSEngine {
    /// Owned; frees the BIO too.
    private let ssl: OpaquePointer
    private let transport = Transport()
    /// Keeps the credentials that error texts speak of.
    private let context: TLSContext
    private let role: TLSRole
    private var opening = StrangeOpening()
    private var verificationFailure: VerificationFailure?
    /// The first failure; OpenSSL has nothing useful to say after it.
    private var failed: TLSError?
    private var identity: PeerCertificate?
    var recordsUntilKeyUpdate = OpenSSLEngine.recordsPerKey

    /// Takes over `ssl`.
    init(owning ssl: OpaquePointer, role: TLSRole, context: TLSContext) throws(TLSError) {
        self.ssl = ssl
        self.role = role
        self.context = context
        guard let bio = transport.makeBIO() else {
            throw TLSError(.handshake, "OpenSSL cannot make a connection: out of memory")
        }
        SSL_set_bio(ssl, bio, bio)
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        switch role {
        case .client: SSL_set_connect_state(ssl)
        case .server: SSL_set_accept_state(ssl)
        }
    }

    deinit { SSL_free(ssl) }

    /// For `SSL_CTX_set_verify`: remembers what the engine of this verification must tell of it.
    static let noteVerification: @convention(c) (Int32, OpaquePointer?) -> Int32 = { accepted, store in
        if accepted == 0, let store,
            let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
            let engine = SSL_get_ex_data(OpaquePointer(ssl), 0)
        {
            Unmanaged<OpenSSLEngine>.fromOpaque(engine).takeUnretainedValue()
                .verificationFailure = VerificationFailure(store)
        }
        return accepted
    }
}

// MARK: Handshake

extension OpenSSLEngine {
    func handshake(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, done: Bool) {
        if let failed { throw failed }
        if identity != nil { return (0, true) }
        opening.note(input)
        ErrorQueue.clear()
        let (result, left) = transport.feeding(input) { SSL_do_handshake(ssl) }
        if result == 1 {
            try admit()
            return (input.count - left, true)
        }
        guard SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else { throw fail(handshakeFailure(result)) }
        return (input.count - left, false)
    }

    private func admit() throws(TLSError) {
        guard ApplicationProtocol.isAgreed(on: ssl) else {
            close()
            throw fail(TLSError(
                .handshake,
                "the peer speaks TLS but not \(ApplicationProtocol.name); check that address and port are a relay's"))
        }
        guard SSL_get_verify_result(ssl) == X509_V_OK, let x509 = SSL_get1_peer_certificate(ssl) else {
            close()
            throw fail(TLSError(.peerCertificate, "the peer has no verified certificate"))
        }
        identity = PeerCertificate(Certificate(owning: x509))
    }

    var peer: PeerCertificate {
        guard let identity else { preconditionFailure("peer asked for before the handshake was done") }
        return identity
    }

    var summary: String {
        let cipher = SSL_get_current_cipher(ssl).map { String(cString: SSL_CIPHER_get_name($0)) } ?? "no cipher yet"
        return "OpenSSL \(String(cString: SSL_get_version(ssl))) \(cipher)"
    }
}

// MARK: Records

extension OpenSSLEngine {
    /// Most plaintext of one record (RFC 8446, 5.1).
    static let recordPlaintext = 16_384
    /// Header, content type and authentication tag of one record.
    static let recordOverhead = 5 + 1 + 16
    /// AES-GCM's bound is 2^24.5 full records under one key (RFC 8446, 5.5); half of 2^24 stays well clear.
    static let recordsPerKey = 1 << 23

    var pendingOutput: Int { transport.pendingCount }

    func drainOutput(into buffer: UnsafeMutableRawBufferPointer) -> Int { transport.drain(into: buffer) }

    func maximumCiphertext(for count: Int) -> Int {
        let records = (count + Self.recordPlaintext - 1) / Self.recordPlaintext
        // Two key updates, ours and the answer to the peer's, may go ahead of the data.
        let keyUpdates = 2 * (Self.recordOverhead + 5)
        return pendingOutput + count + records * Self.recordOverhead + keyUpdates
    }

    func encrypt(
        _ plaintext: UnsafeRawBufferPointer, into ciphertext: UnsafeMutableRawBufferPointer
    ) throws(TLSError) -> Int {
        precondition(ciphertext.count >= maximumCiphertext(for: plaintext.count))
        if let failed { throw failed }
        guard !plaintext.isEmpty else { return drainOutput(into: ciphertext) }
        ErrorQueue.clear()
        renewKey(before: plaintext.count)
        let (result, written) = transport.writing(into: ciphertext) {
            var count = 0
            return SSL_write_ex(ssl, plaintext.baseAddress, plaintext.count, &count)
        }
        guard result == 1 else { throw fail(recordFailure(result)) }
        return written
    }

    private func renewKey(before count: Int) {
        recordsUntilKeyUpdate -= count / Self.recordPlaintext + 1
        guard recordsUntilKeyUpdate < 0 else { return }
        recordsUntilKeyUpdate = Self.recordsPerKey
        SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED)
    }

    func decrypt(
        _ ciphertext: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer
    ) throws(TLSError) -> TLSDecrypted {
        if let failed { throw failed }
        var produced = 0
        ErrorQueue.clear()
        let (result, left) = transport.feeding(ciphertext) {
            while produced < plaintext.count {
                var count = 0
                let result = SSL_read_ex(ssl, plaintext.baseAddress! + produced, plaintext.count - produced, &count)
                guard result == 1 else { return result }
                produced += count
            }
            return 1
        }
        let consumed = ciphertext.count - left
        if result == 1 { return TLSDecrypted(consumed: consumed, produced: produced, ended: false) }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return TLSDecrypted(consumed: consumed, produced: produced, ended: false)
        case SSL_ERROR_ZERO_RETURN: return TLSDecrypted(consumed: consumed, produced: produced, ended: true)
        default: throw fail(recordFailure(result))
        }
    }

    func close() {
        guard failed == nil else { return }
        ErrorQueue.clear()
        SSL_shutdown(ssl)
        ErrorQueue.clear()
    }
}

// MARK: Failures

extension OpenSSLEngine {
    private func fail(_ error: TLSError) -> TLSError {
        failed = error
        ErrorQueue.clear()
        return error
    }

    private func handshakeFailure(_ result: Int32) -> TLSError {
        if let strange = opening.description { return TLSError(.handshake, strange) }
        if SSL_get_error(ssl, result) == SSL_ERROR_ZERO_RETURN {
            return TLSError(.alert, "the peer closed the connection during the handshake; its log may say why")
        }
        guard let entry = ErrorQueue.take() else {
            return TLSError(.handshake, "the handshake failed; OpenSSL gives no reason")
        }
        if let alert = PeerAlert(entry) { return TLSError(.alert, alert.description(own: context.credentials.certificate)) }
        switch entry.reason {
        case SSL_R_CERTIFICATE_VERIFY_FAILED: return rejectedCertificate()
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return TLSError(.peerCertificate, "the peer showed no certificate; a relay must have one of the same CA")
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_WRONG_VERSION_NUMBER:
            return TLSError(.handshake, "the peer does not offer TLS 1.3; culvert speaks nothing older")
        case SSL_R_NO_APPLICATION_PROTOCOL, SSL_R_CALLBACK_FAILED:
            return TLSError(
                .handshake, "the peer speaks TLS but not \(ApplicationProtocol.name); another program has dialled this port")
        default: return TLSError(.handshake, "the handshake failed: \(entry.text)")
        }
    }

    private func rejectedCertificate() -> TLSError {
        guard let failure = verificationFailure else {
            return TLSError(.peerCertificate, "the peer's certificate is not acceptable")
        }
        return TLSError(
            .peerCertificate,
            failure.description(
                holder: "the peer's certificate", caFile: context.credentials.files.ca,
                authorities: context.credentials.authorities))
    }

    private func recordFailure(_ result: Int32) -> TLSError {
        guard let entry = ErrorQueue.take() else {
            return TLSError(.record, "the connection failed; OpenSSL gives no reason")
        }
        if let alert = PeerAlert(entry) { return TLSError(.alert, alert.description(own: context.credentials.certificate)) }
        return TLSError(
            .record, "a record from the peer is not acceptable (\(entry.text)); something on the way changed it, "
                + "or the peer is at fault")
    }
}

extension PeerAlert {
    /// OpenSSL gives a received alert as a reason of its own, 1000 above the alert's number.
    fileprivate init?(_ entry: ErrorQueue.Entry) {
        guard entry.library == ERR_LIB_SSL, (SSL_AD_REASON_OFFSET ..< SSL_AD_REASON_OFFSET + 256).contains(entry.reason)
        else { return nil }
        self.init(number: entry.reason - SSL_AD_REASON_OFFSET)
    }
}
