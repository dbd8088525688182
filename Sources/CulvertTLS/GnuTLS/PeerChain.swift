import CGnuTLS
import COpenSSL

/// The certificates that a peer has shown in a handshake of GnuTLS.
struct PeerChain {
    private let session: OpaquePointer
    /// The role that the peer has.
    private let holder: TLSRole
    /// Its own first; empty if there is nothing or it makes no sense.
    private let certificates: [Certificate]

    init(of session: OpaquePointer, holder: TLSRole) {
        self.session = session
        self.holder = holder
        var count: UInt32 = 0
        let shown = UnsafeBufferPointer(start: gnutls_certificate_get_peers(session, &count), count: Int(count))
        let parsed = shown.map { datum in
            var bytes: UnsafePointer<UInt8>? = UnsafePointer(datum.data)
            return d2i_X509(nil, &bytes, Int(datum.size)).map { Certificate(owning: $0) }
        }
        certificates = parsed.contains { $0 == nil } ? [] : parsed.compactMap(\.self)
    }

    /// The chain has to please GnuTLS, and also what judges certificates for the OpenSSL engine, so that no peer is
    /// accepted by one engine only; the latter also has the better words.
    func judged(by own: CertificateCredentials) throws(Objection) -> PeerIdentity {
        guard let certificate = certificates.first else {
            throw Objection(alert: .certificateRequired, error: .noCertificate)
        }
        let trial = ChainTrial(authorities: own.authorities, revoked: own.revoked, roles: [holder])
        if let failure = trial.failures(of: certificates).first {
            throw Objection(
                alert: failure.alert, error: TLSError(.peerIdentity, failure.description(ofPeerOf: own)))
        }
        if let text = gnutlsObjection {
            throw Objection(
                alert: .badCertificate,
                error: TLSError(.peerIdentity, "the peer's certificate (\(certificate.subject)) is not acceptable: \(text)"))
        }
        return PeerIdentity(certificate, judgedBy: own.files)
    }

    /// Nil if GnuTLS has nothing against the chain.
    private var gnutlsObjection: String? {
        var status: UInt32 = 0
        // id-kp-serverAuth and id-kp-clientAuth (RFC 5280, 4.2.1.12).
        let purpose = holder == .server ? "1.3.6.1.5.5.7.3.1" : "1.3.6.1.5.5.7.3.2"
        let result = purpose.withCString { purpose in
            let bytes = UnsafeMutableRawPointer(mutating: purpose).assumingMemoryBound(to: UInt8.self)
            // Of size 0, which says that it ends with a zero.
            var data = gnutls_typed_vdata_st(type: GNUTLS_DT_KEY_PURPOSE_OID, data: bytes, size: 0)
            return gnutls_certificate_verify_peers(session, &data, 1, &status)
        }
        guard result == 0 else { return gnutlsText(result) }
        guard status != 0 else { return nil }
        var text = gnutls_datum_t()
        defer { CGnuTLS_datum_free(&text) }
        guard gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0 else { return "\(status)" }
        return String(decoding: UnsafeBufferPointer(start: text.data, count: Int(text.size)), as: UTF8.self)
    }
}
