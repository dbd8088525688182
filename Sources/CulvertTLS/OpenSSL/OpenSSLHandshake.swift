import COpenSSL
import Glibc

/// A handshake by OpenSSL.
final class OpenSSLHandshake: Handshake {
    /// Owned; frees the BIO too.
    private let ssl: OpaquePointer
    private let transport = Transport()
    private let role: TLSRole
    private let credentials: TLSCredentials
    /// Whom a client wants to reach.
    private let peer: String?
    private var keyLog = KeyLog()
    private var rejection: VerificationFailure?
    private var objection: Objection?
    /// The name that OpenSSL keeps a pointer to while it shakes hands.
    private let user: UnsafeMutableBufferPointer<UInt8>
    /// Whose pre-shared key is in use.
    private var keyName: String?

    /// Takes over `ssl`, whose context must have had `observe` called on it.
    init(owning ssl: OpaquePointer, role: TLSRole, credentials: TLSCredentials, peer: String?) throws(TLSError) {
        self.ssl = ssl
        self.role = role
        self.credentials = credentials
        self.peer = peer
        let name = if case .keys(let keys) = credentials { Array(keys.user.utf8) } else { [UInt8]() }
        user = .allocate(capacity: name.count)
        _ = user.initialize(from: name)
        if case .keys(let keys) = credentials, role == .client { try keys.check(peer) }
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

    deinit {
        SSL_free(ssl)
        user.deallocate()
    }

    func takeOutput() -> [UInt8] { transport.takeOutput() }

    func step(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, outcome: HandshakeOutcome?) {
        ErrorQueue.clear()
        let (result, left) = transport.feeding(input) { SSL_do_handshake(ssl) }
        let consumed = input.count - left
        if result == 1 { return (consumed, try finish()) }
        guard SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else { throw failure(result) }
        return (consumed, nil)
    }

    private func finish() throws(TLSError) -> HandshakeOutcome {
        let peer = try identify()
        guard SSL_has_pending(ssl) == 0 else {
            throw TLSError(.handshake, "OpenSSL has taken more than the handshake")
        }
        var agreed: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &agreed, &count)
        return try HandshakeOutcome(
            role, peer, by: "OpenSSL", secrets: (keyLog.client, keyLog.server),
            agreed: UnsafeBufferPointer(start: agreed, count: Int(count)), transport)
    }

    private func identify() throws(TLSError) -> PeerIdentity {
        switch credentials {
        case .certificates(let credentials):
            guard SSL_get_verify_result(ssl) == X509_V_OK, SSL_session_reused(ssl) == 0,
                let x509 = SSL_get1_peer_certificate(ssl)
            else { throw TLSError(.peerIdentity, "the peer has no verified certificate") }
            return PeerIdentity(Certificate(owning: x509), judgedBy: credentials.files)
        case .keys:
            // OpenSSL calls a handshake with a pre-shared key a resumption.
            guard SSL_session_reused(ssl) == 1, let keyName else {
                throw TLSError(.peerIdentity, "the peer has not proved to know a pre-shared key")
            }
            return PeerIdentity(key: keyName)
        }
    }
}

// MARK: Callbacks

extension OpenSSLHandshake {
    /// Lets the handshakes of `context` decide and hear.
    static func observe(_ context: OpaquePointer, _ credentials: TLSCredentials) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT) { accepted, store in
            guard let store else { return 0 }
            let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
            return OpenSSLHandshake.of(OpaquePointer(ssl))?.verify(accepted == 1, store) ?? false ? 1 : 0
        }
        SSL_CTX_set_keylog_callback(context) { ssl, line in
            guard let line, let handshake = OpenSSLHandshake.of(ssl), let suite = CipherSuite(negotiatedOn: ssl) else { return }
            line.withMemoryRebound(to: UInt8.self, capacity: strlen(line)) { bytes in
                handshake.keyLog.note(UnsafeBufferPointer(start: bytes, count: strlen(line)), suite: suite)
            }
        }
        SSL_CTX_set_client_hello_cb(context, { ssl, alert, _ in
            guard let handshake = OpenSSLHandshake.of(ssl) else { return SSL_CLIENT_HELLO_ERROR }
            handshake.objection = ClientOffer(seenBy: ssl).objection(handshake.credentials)
            guard let objection = handshake.objection else { return SSL_CLIENT_HELLO_SUCCESS }
            alert?.pointee = Int32(objection.alert.rawValue)
            return SSL_CLIENT_HELLO_ERROR
        }, nil)
        // The offer is known to list it.
        SSL_CTX_set_alpn_select_cb(context, { _, chosen, length, _, _, _ in
            chosen?.pointee = OpenSSLHandshake.protocolName.baseAddress
            length?.pointee = UInt8(OpenSSLHandshake.protocolName.count)
            return SSL_TLSEXT_ERR_OK
        }, nil)
        let list = [UInt8(ApplicationProtocol.name.utf8.count)] + Array(ApplicationProtocol.name.utf8)
        SSL_CTX_set_alpn_protos(context, list, UInt32(list.count))
        guard case .keys = credentials else { return }
        SSL_CTX_set_psk_use_session_callback(context) { ssl, digest, identity, length, session in
            guard let handshake = OpenSSLHandshake.of(ssl) else { return 0 }
            return handshake.presentKey(digest, identity, length, session) ? 1 : 0
        }
        SSL_CTX_set_psk_find_session_callback(context) { ssl, identity, length, session in
            guard let handshake = OpenSSLHandshake.of(ssl) else { return 0 }
            session?.pointee = handshake.findKey(UnsafeBufferPointer(start: identity, count: length))
            return 1
        }
    }

    /// Lives as long as the process: OpenSSL copies it only after the callback.
    private nonisolated(unsafe) static let protocolName: UnsafeBufferPointer<UInt8> = {
        let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: ApplicationProtocol.name.utf8.count)
        _ = bytes.initialize(from: ApplicationProtocol.name.utf8)
        return UnsafeBufferPointer(bytes)
    }()

    private static func of(_ ssl: OpaquePointer?) -> OpenSSLHandshake? {
        guard let ssl, let handshake = SSL_get_ex_data(ssl, 0) else { return nil }
        return Unmanaged.fromOpaque(handshake).takeUnretainedValue()
    }

    private func verify(_ accepted: Bool, _ store: OpaquePointer) -> Bool {
        guard case .certificates = credentials else {
            // A server that shows one does not know our key.
            X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
            return false
        }
        guard !accepted else { return true }
        if RevocationList.isMissing(store) {
            X509_STORE_CTX_set_error(store, X509_V_OK)
            return true
        }
        rejection = VerificationFailure(store)
        return false
    }
}

// MARK: Pre-shared keys

extension OpenSSLHandshake {
    /// As client.
    private func presentKey(
        _ digest: OpaquePointer?, _ identity: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
        _ length: UnsafeMutablePointer<Int>?, _ session: UnsafeMutablePointer<OpaquePointer?>?
    ) -> Bool {
        guard case .keys(let keys) = credentials, let peer, let key = keys.key(of: peer) else { return false }
        // After a HelloRetryRequest the digest is settled, perhaps on another.
        guard digest == nil || EVP_MD_get_type(digest) == NID_sha256, let made = makeSession(key) else { return true }
        keyName = peer
        identity?.pointee = UnsafePointer(user.baseAddress)
        length?.pointee = user.count
        session?.pointee = made
        return true
    }

    /// As server; nil if there is none of that name.
    private func findKey(_ identity: UnsafeBufferPointer<UInt8>) -> OpaquePointer? {
        guard case .keys(let keys) = credentials, let key = keys.key(of: identity) else { return nil }
        keyName = String(decoding: identity, as: UTF8.self)
        return makeSession(key)
    }

    /// A new session that stands for a pre-shared key; whoever gets it owns it.
    private func makeSession(_ key: [UInt8]) -> OpaquePointer? {
        // Which cipher it names matters only in that its digest is SHA-256.
        let number = CipherSuite.aes128GCM.rawValue
        guard let session = SSL_SESSION_new() else { return nil }
        guard let cipher = SSL_CIPHER_find(ssl, [UInt8(number >> 8), UInt8(number & 255)]),
            SSL_SESSION_set1_master_key(session, key, key.count) == 1,
            SSL_SESSION_set_cipher(session, cipher) == 1,
            SSL_SESSION_set1_id_context(session, OpenSSLContext.sessions, UInt32(OpenSSLContext.sessions.count)) == 1,
            SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1
        else {
            SSL_SESSION_free(session)
            return nil
        }
        return session
    }
}

extension CipherSuite {
    fileprivate init?(negotiatedOn ssl: OpaquePointer?) {
        guard let cipher = SSL_get_current_cipher(ssl) else { return nil }
        self.init(rawValue: SSL_CIPHER_get_protocol_id(cipher))
    }
}

extension ClientOffer {
    fileprivate init(seenBy ssl: OpaquePointer?) {
        self.init { number in
            var start: UnsafePointer<UInt8>?
            var count = 0
            guard SSL_client_hello_get0_ext(ssl, UInt32(number), &start, &count) == 1 else { return nil }
            return Array(UnsafeBufferPointer(start: start, count: count))
        }
    }
}

// MARK: Failures

extension OpenSSLHandshake {
    private func failure(_ result: Int32) -> TLSError {
        defer { ErrorQueue.clear() }
        if let objection { return objection.error }
        if SSL_get_error(ssl, result) == SSL_ERROR_ZERO_RETURN { return .closedInHandshake }
        guard let entry = ErrorQueue.take() else {
            return TLSError(.handshake, "the handshake failed; OpenSSL gives no reason")
        }
        if let alert = Alert(entry) { return TLSError(.alert, alert.description(own: credentials)) }
        switch entry.reason {
        case SSL_R_CERTIFICATE_VERIFY_FAILED: return rejectedCertificate()
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return .noCertificate
        case SSL_R_NO_SHARED_CIPHER: return .noCommonCipher
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_WRONG_VERSION_NUMBER: return .noTLS13
        case SSL_R_BINDER_DOES_NOT_VERIFY:
            guard case .keys(let keys) = credentials else { break }
            return keys.mismatch(keyName)
        default: break
        }
        return TLSError(.handshake, "the handshake failed: \(entry.text)")
    }

    private func rejectedCertificate() -> TLSError {
        guard case .certificates(let credentials) = credentials else { return .certificateForKey }
        guard let rejection else { return TLSError(.peerIdentity, "the peer's certificate is not acceptable") }
        return TLSError(.peerIdentity, rejection.description(ofPeerOf: credentials))
    }
}

extension Alert {
    /// OpenSSL gives a received alert as a reason of its own, 1000 above the alert's number.
    fileprivate init?(_ entry: ErrorQueue.Entry) {
        guard entry.library == ERR_LIB_SSL, (SSL_AD_REASON_OFFSET ..< SSL_AD_REASON_OFFSET + 256).contains(entry.reason)
        else { return nil }
        self.init(rawValue: UInt8(entry.reason - SSL_AD_REASON_OFFSET))
    }
}
