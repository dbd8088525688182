import COpenSSL
import Glibc

/// One handshake, done by OpenSSL. Its outcome is two traffic secrets, with which OpenSSL's part is over.
final class OpenSSLHandshake {
    /// Owned; frees the BIO too.
    private let ssl: OpaquePointer
    private let transport = Transport()
    private let role: TLSRole
    private let credentials: Credentials
    private var opening = StrangeOpening()
    private var keyLog = KeyLog()
    private var rejection: VerificationFailure?

    /// What a handshake came to.
    struct Outcome {
        var records: RecordLayer
        var peer: PeerCertificate
        var summary: String
    }

    /// Takes over `ssl`, whose context must have had `observe` called on it.
    init(owning ssl: OpaquePointer, role: TLSRole, credentials: Credentials) throws(TLSError) {
        self.ssl = ssl
        self.role = role
        self.credentials = credentials
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

    /// What is to be sent since the last call.
    func takeOutput() -> [UInt8] {
        defer { transport.output = [] }
        return transport.output
    }

    /// Goes as far as `input` allows.
    func step(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, outcome: Outcome?) {
        opening.note(input)
        ErrorQueue.clear()
        let (result, left) = transport.feeding(input) { SSL_do_handshake(ssl) }
        let consumed = input.count - left
        if result == 1 { return (consumed, try finish()) }
        guard SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else { throw failure(result) }
        return (consumed, nil)
    }

    private func finish() throws(TLSError) -> Outcome {
        guard SSL_get_verify_result(ssl) == X509_V_OK, let x509 = SSL_get1_peer_certificate(ssl) else {
            throw TLSError(.peerCertificate, "the peer has no verified certificate")
        }
        let certificate = Certificate(owning: x509)
        guard let client = keyLog.client, let server = keyLog.server, SSL_has_pending(ssl) == 0 else {
            throw TLSError(.handshake, "OpenSSL does not hand over its traffic secrets")
        }
        let (reading, writing) = role == .client ? (server, client) : (client, server)
        let records = RecordLayer(reading: reading, writing: writing, role: role)
        guard ApplicationProtocol.isAgreed(on: ssl) else {
            transport.output += records.writer.alert(UInt8(SSL_AD_NO_APPLICATION_PROTOCOL))
            throw TLSError(
                .handshake,
                "the peer speaks TLS but not \(ApplicationProtocol.name); check that address and port are a relay's")
        }
        let suite = String(cString: SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)))
        return Outcome(
            records: records, peer: PeerCertificate(certificate),
            summary: "OpenSSL \(String(cString: SSL_get_version(ssl))) \(suite)")
    }
}

// MARK: Callbacks

extension OpenSSLHandshake {
    /// Lets the handshakes of `context` hear of verifications and secrets.
    static func observe(_ context: OpaquePointer) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT) { accepted, store in
            if accepted == 0, let store {
                let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
                OpenSSLHandshake.of(OpaquePointer(ssl))?.rejection = VerificationFailure(store)
            }
            return accepted
        }
        SSL_CTX_set_keylog_callback(context) { ssl, line in
            guard let line, let handshake = OpenSSLHandshake.of(ssl), let suite = CipherSuite(negotiatedOn: ssl) else { return }
            line.withMemoryRebound(to: UInt8.self, capacity: strlen(line)) { bytes in
                handshake.keyLog.note(UnsafeBufferPointer(start: bytes, count: strlen(line)), suite: suite)
            }
        }
    }

    private static func of(_ ssl: OpaquePointer?) -> OpenSSLHandshake? {
        guard let ssl, let handshake = SSL_get_ex_data(ssl, 0) else { return nil }
        return Unmanaged.fromOpaque(handshake).takeUnretainedValue()
    }
}

extension CipherSuite {
    fileprivate init?(negotiatedOn ssl: OpaquePointer?) {
        guard let cipher = SSL_get_current_cipher(ssl) else { return nil }
        self.init(rawValue: SSL_CIPHER_get_protocol_id(cipher))
    }
}

// MARK: Failures

extension OpenSSLHandshake {
    private func failure(_ result: Int32) -> TLSError {
        defer { ErrorQueue.clear() }
        if let strange = opening.description { return TLSError(.handshake, strange) }
        if SSL_get_error(ssl, result) == SSL_ERROR_ZERO_RETURN {
            return TLSError(.alert, "the peer closed the connection during the handshake; its log may say why")
        }
        guard let entry = ErrorQueue.take() else {
            return TLSError(.handshake, "the handshake failed; OpenSSL gives no reason")
        }
        if let alert = PeerAlert(entry) { return TLSError(.alert, alert.description(own: credentials.certificate)) }
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
        guard let rejection else { return TLSError(.peerCertificate, "the peer's certificate is not acceptable") }
        return TLSError(
            .peerCertificate,
            rejection.description(
                holder: "the peer's certificate", caFile: credentials.files.ca, authorities: credentials.authorities))
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
