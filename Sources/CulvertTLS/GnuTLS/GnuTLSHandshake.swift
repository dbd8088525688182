import CGnuTLS
import Glibc

/// A handshake by GnuTLS.
final class GnuTLSHandshake: Handshake {
    /// Owned.
    private let session: OpaquePointer
    private let context: GnuTLSContext
    private let transport = Transport()
    private let role: TLSRole
    /// Whom a client wants to reach.
    private let peer: String?
    /// Owned; a client's pre-shared key.
    private var clientKey: OpaquePointer?
    private var secrets: (client: TrafficSecret?, server: TrafficSecret?)
    private var objection: Objection?
    private var identity: PeerIdentity?
    /// The last name that a client presented and that has a key.
    private var presentedName: String?

    private var credentials: TLSCredentials { context.credentials }

    init(_ context: GnuTLSContext, role: TLSRole, peer: String?) throws(TLSError) {
        // A certificate is shown to a server whatever CAs it names, so that it says what it dislikes.
        var flags: [gnutls_init_flags_t] = [GNUTLS_NONBLOCK, GNUTLS_NO_TICKETS, GNUTLS_NO_SIGNAL]
        flags += role == .client ? [GNUTLS_CLIENT, GNUTLS_FORCE_CLIENT_CERT] : [GNUTLS_SERVER]
        var made: OpaquePointer?
        guard gnutls_init(&made, flags.reduce(0) { $0 | $1.rawValue }) == 0, let made else {
            throw TLSError(.handshake, "GnuTLS cannot make a connection: out of memory")
        }
        session = made
        self.context = context
        self.role = role
        self.peer = peer
        gnutls_session_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
        try Self.check(context.equip(session, role))
        if role == .client, case .keys(let keys) = credentials { try present(keys) }
        try Self.check(Array(ApplicationProtocol.name.utf8).withDatum { gnutls_alpn_set_protocols(session, &$0, 1, 0) })
        observe()
    }

    deinit {
        gnutls_deinit(session)
        if let clientKey { gnutls_psk_free_client_credentials(clientKey) }
    }

    /// Which key a client uses depends on the peer, so it is no part of the context.
    private func present(_ keys: PreSharedKeys) throws(TLSError) {
        try keys.check(peer)
        guard gnutls_psk_allocate_client_credentials(&clientKey) == 0, let peer, let key = keys.key(of: peer) else {
            fatalError("out of memory")
        }
        try Self.check(
            Array(keys.user.utf8).withDatum { user in
                key.withDatum { gnutls_psk_set_client_credentials2(clientKey, &user, &$0, GNUTLS_PSK_KEY_RAW) }
            })
        try Self.check(gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(clientKey)))
    }

    private static func check(_ result: Int32) throws(TLSError) {
        guard result == 0 else { throw TLSError(.handshake, "GnuTLS cannot make a connection: \(gnutlsText(result))") }
    }

    func takeOutput() -> [UInt8] { transport.takeOutput() }

    func step(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, outcome: HandshakeOutcome?) {
        let (result, left) = transport.feeding(input) {
            var result = gnutls_handshake(session)
            while result == GNUTLS_E_INTERRUPTED || result == GNUTLS_E_WARNING_ALERT_RECEIVED && !hasPeerClosed {
                result = gnutls_handshake(session)
            }
            return result
        }
        let consumed = input.count - left
        if result == 0 { return (consumed, try finish()) }
        guard result == GNUTLS_E_AGAIN else { throw failure(result) }
        return (consumed, nil)
    }

    private var hasPeerClosed: Bool { gnutls_alert_get(session) == GNUTLS_A_CLOSE_NOTIFY }

    private func finish() throws(TLSError) -> HandshakeOutcome {
        if case .keys = credentials { identity = try keyHolder() }
        guard let identity else { throw TLSError(.peerIdentity, "the peer has no verified certificate") }
        guard gnutls_record_check_pending(session) == 0 else {
            throw TLSError(.handshake, "GnuTLS has taken more than the handshake")
        }
        var agreed = gnutls_datum_t()
        gnutls_alpn_get_selected_protocol(session, &agreed)
        return try HandshakeOutcome(
            role, identity, by: "GnuTLS", secrets: secrets,
            agreed: UnsafeBufferPointer(start: agreed.data, count: Int(agreed.size)), transport)
    }

    /// Who has proved to know a pre-shared key.
    private func keyHolder() throws(TLSError) -> PeerIdentity {
        guard gnutls_auth_get_type(session) == GNUTLS_CRD_PSK, gnutls_kx_get(session) == GNUTLS_KX_ECDHE_PSK else {
            throw TLSError(.peerIdentity, "the peer has not proved to know a pre-shared key")
        }
        if role == .client, let peer { return PeerIdentity(key: peer) }
        var name = gnutls_datum_t()
        guard gnutls_psk_server_get_username2(session, &name) == 0 else {
            throw TLSError(.peerIdentity, "the peer has not named its pre-shared key")
        }
        let text = String(decoding: UnsafeBufferPointer(start: name.data, count: Int(name.size)), as: UTF8.self)
        return PeerIdentity(key: text)
    }
}

// MARK: Callbacks

extension GnuTLSHandshake {
    static func of(_ session: OpaquePointer?) -> GnuTLSHandshake? {
        guard let session, let handshake = gnutls_session_get_ptr(session) else { return nil }
        return Unmanaged.fromOpaque(handshake).takeUnretainedValue()
    }

    private func observe() {
        gnutls_transport_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
        gnutls_transport_set_pull_function(session) { handshake, buffer, size in
            let handshake = Unmanaged<GnuTLSHandshake>.fromOpaque(handshake!).takeUnretainedValue()
            let count = handshake.transport.read(into: UnsafeMutableRawBufferPointer(start: buffer, count: size))
            guard count > 0 else {
                gnutls_transport_set_errno(handshake.session, EAGAIN)
                return -1
            }
            return count
        }
        gnutls_transport_set_push_function(session) { handshake, bytes, size in
            let handshake = Unmanaged<GnuTLSHandshake>.fromOpaque(handshake!).takeUnretainedValue()
            handshake.transport.write(UnsafeRawBufferPointer(start: bytes, count: size))
            return size
        }
        gnutls_transport_set_pull_timeout_function(session) { handshake, _ in
            Unmanaged<GnuTLSHandshake>.fromOpaque(handshake!).takeUnretainedValue().transport.hasInput ? 1 : 0
        }
        gnutls_session_set_keylog_function(session) { session, label, secret in
            guard let label, let secret else { return 0 }
            GnuTLSHandshake.of(session)?.note(String(cString: label), secret.pointee)
            return 0
        }
        if case .certificates = credentials {
            gnutls_session_set_verify_function(session) { session in
                GnuTLSHandshake.of(session)?.verifyPeer() ?? false ? 0 : GNUTLS_E_CERTIFICATE_ERROR
            }
            if role == .server { gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE) }
        }
        guard role == .server else { return }
        gnutls_handshake_set_hook_function(
            session, GNUTLS_HANDSHAKE_CLIENT_HELLO.rawValue, Int32(GNUTLS_HOOK_PRE)
        ) { session, _, _, _, message in
            guard let message, let handshake = GnuTLSHandshake.of(session) else { return GNUTLS_E_INTERNAL_ERROR }
            handshake.objection = ClientOffer(message).objection(handshake.credentials)
            return handshake.objection == nil ? 0 : GNUTLS_E_USER_ERROR
        }
    }

    private func note(_ label: String, _ secret: gnutls_datum_t) {
        guard let suite = CipherSuite(negotiatedOn: session), suite.digestLength == secret.size else { return }
        func copy() -> TrafficSecret {
            TrafficSecret(suite, GnuTLSCryptography.self) {
                $0.copyMemory(from: UnsafeRawBufferPointer(start: secret.data, count: Int(secret.size)))
            }
        }
        switch label {
        case "CLIENT_TRAFFIC_SECRET_0": secrets.client = copy()
        case "SERVER_TRAFFIC_SECRET_0": secrets.server = copy()
        default: break
        }
    }

    private func verifyPeer() -> Bool {
        guard case .certificates(let own) = credentials else { return false }
        do throws(Objection) {
            identity = try PeerChain(of: session, holder: role == .client ? .server : .client).judged(by: own)
            return true
        } catch {
            objection = error
            return false
        }
    }

    /// As server; the result is the callback's.
    func findKey(_ user: UnsafeBufferPointer<UInt8>, _ datum: UnsafeMutablePointer<gnutls_datum_t>) -> Int32 {
        guard case .keys(let keys) = credentials, let key = keys.key(of: user) else { return -1 }
        presentedName = String(decoding: user, as: UTF8.self)
        return CGnuTLS_datum_copy(datum, key, UInt32(key.count)) == 0 ? 0 : -1
    }
}

extension CipherSuite {
    fileprivate init?(negotiatedOn session: OpaquePointer) {
        switch gnutls_cipher_get(session) {
        case GNUTLS_CIPHER_AES_128_GCM: self = .aes128GCM
        case GNUTLS_CIPHER_AES_256_GCM: self = .aes256GCM
        case GNUTLS_CIPHER_CHACHA20_POLY1305: self = .chaCha20Poly1305
        default: return nil
        }
    }
}

extension ClientOffer {
    fileprivate init(_ message: UnsafePointer<gnutls_datum_t>) {
        var found: [UInt16: [UInt8]] = [:]
        withUnsafeMutablePointer(to: &found) { found in
            // A message that does not parse is GnuTLS's to refuse; here it offers nothing.
            _ = gnutls_ext_raw_parse(
                found,
                { found, number, bytes, count in
                    found?.assumingMemoryBound(to: [UInt16: [UInt8]].self).pointee[UInt16(truncatingIfNeeded: number)] =
                        Array(UnsafeBufferPointer(start: bytes, count: Int(count)))
                    return 0
                }, message, UInt32(GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO))
        }
        self.init { found[$0] }
    }
}

// MARK: Failures

extension GnuTLSHandshake {
    private func failure(_ result: Int32) -> TLSError {
        if let alert = receivedAlert(result) { return TLSError(.alert, alert.description(own: credentials)) }
        if hasPeerClosed, result == GNUTLS_E_WARNING_ALERT_RECEIVED || result == GNUTLS_E_PREMATURE_TERMINATION
            || result == GNUTLS_E_SESSION_EOF { return .closedInHandshake }
        let objection = objection ?? self.objection(result)
        if let objection {
            gnutls_alert_send(session, GNUTLS_AL_FATAL, gnutls_alert_description_t(UInt32(objection.alert.rawValue)))
            return objection.error
        }
        gnutls_alert_send_appropriate(session, result)
        return TLSError(.handshake, "the handshake failed: \(gnutlsText(result))")
    }

    private func receivedAlert(_ result: Int32) -> Alert? {
        if result == GNUTLS_E_FATAL_ALERT_RECEIVED {
            return Alert(rawValue: UInt8(truncatingIfNeeded: gnutls_alert_get(session).rawValue))
        }
        // A client on OpenSSL does not encrypt its objection to our certificate, which GnuTLS then cannot decrypt. The
        // record of an alert is a header and two bytes.
        guard result == GNUTLS_E_DECRYPTION_FAILED, transport.recent.starts(with: [21, 3, 3, 0, 2]) else { return nil }
        return transport.recent.last.map { Alert(rawValue: $0) }
    }

    /// What one of GnuTLS's results means here.
    private func objection(_ result: Int32) -> Objection? {
        switch (result, credentials) {
        case (GNUTLS_E_NO_CERTIFICATE_FOUND, _), (GNUTLS_E_CERTIFICATE_REQUIRED, _):
            Objection(alert: .certificateRequired, error: .noCertificate)
        case (GNUTLS_E_NO_CIPHER_SUITES, _): Objection(alert: .handshakeFailure, error: .noCommonCipher)
        case (GNUTLS_E_UNSUPPORTED_VERSION_PACKET, _): Objection(alert: .protocolVersion, error: .noTLS13)
        case (GNUTLS_E_INSUFFICIENT_CREDENTIALS, .keys) where role == .client:
            Objection(alert: .handshakeFailure, error: .certificateForKey)
        case (GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER, .keys(let keys)) where role == .server:
            Objection(alert: .illegalParameter, error: keys.mismatch(presentedName))
        default: nil
        }
    }
}
