import COpenSSL

/// An alert that the peer sent (RFC 8446, 6), in words that help who must act on it.
struct PeerAlert {
    /// The alert's number on the wire.
    var number: Int32

    /// `own` is the certificate that the peer saw.
    func description(own: Certificate) -> String {
        let name = String(cString: SSL_alert_desc_string_long(number))
        return "the peer refused with the alert '\(name)' (\(number))" + (meaning(own).map { ": \($0)" } ?? "")
    }

    private func meaning(_ own: Certificate) -> String? {
        switch number {
        case SSL_AD_UNKNOWN_CA:
            "our certificate (\(own.subject)), issued by \(own.issuer), is not of the CA in the peer's CA file; "
                + "give both hosts certificates of one CA, and its certificate as CA file"
        case SSL_AD_CERTIFICATE_EXPIRED:
            "our certificate (\(own.subject)) is valid until \(describeTime(own.notAfter)); "
                + "issue a new one, or check the peer's clock"
        case SSL_AD_BAD_CERTIFICATE, SSL_AD_CERTIFICATE_UNKNOWN, SSL_AD_CERTIFICATE_REVOKED:
            "our certificate (\(own.subject)), valid from \(describeTime(own.notBefore)), is not acceptable to it; "
                + "the peer's log says why; check its clock and its CA file"
        case SSL_AD_UNSUPPORTED_CERTIFICATE:
            "our certificate (\(own.subject)) is not meant for this; its extended key usage must hold serverAuth and "
                + "clientAuth, as 'culvert certs issue' sets it"
        case TLS13_AD_CERTIFICATE_REQUIRED:
            "it wants a certificate and got none"
        case SSL_AD_NO_APPLICATION_PROTOCOL:
            "it does not speak \(ApplicationProtocol.name); another program, or a relay of another version, has that address"
        case SSL_AD_PROTOCOL_VERSION:
            "it does not offer TLS 1.3"
        case SSL_AD_HANDSHAKE_FAILURE, SSL_AD_INSUFFICIENT_SECURITY:
            "no cipher suite or key exchange suits both sides"
        case SSL_AD_DECRYPT_ERROR, SSL_AD_BAD_RECORD_MAC:
            "what we sent reached it changed; something on the way interferes with the connection"
        case SSL_AD_INTERNAL_ERROR:
            "its own fault; the peer's log may say more"
        default: nil
        }
    }
}
