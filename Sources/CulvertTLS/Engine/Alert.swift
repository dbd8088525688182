/// An alert by its number on the wire (RFC 8446, 6; RFC 7301, 3.2).
struct Alert: RawRepresentable, Hashable {
    var rawValue: UInt8

    static let closeNotify = Alert(rawValue: 0)
    static let handshakeFailure = Alert(rawValue: 40)
    static let badCertificate = Alert(rawValue: 42)
    static let unsupportedCertificate = Alert(rawValue: 43)
    static let certificateRevoked = Alert(rawValue: 44)
    static let certificateExpired = Alert(rawValue: 45)
    static let certificateUnknown = Alert(rawValue: 46)
    static let illegalParameter = Alert(rawValue: 47)
    static let unknownCA = Alert(rawValue: 48)
    static let decryptError = Alert(rawValue: 51)
    static let protocolVersion = Alert(rawValue: 70)
    static let userCanceled = Alert(rawValue: 90)
    static let unknownPSKIdentity = Alert(rawValue: 115)
    static let certificateRequired = Alert(rawValue: 116)
    static let noApplicationProtocol = Alert(rawValue: 120)

    /// As people know it.
    var name: String { Self.names[rawValue] ?? "unknown" }

    private static let names: [UInt8: String] = [
        0: "close notify", 10: "unexpected message", 20: "bad record mac", 22: "record overflow", 40: "handshake failure",
        42: "bad certificate", 43: "unsupported certificate", 44: "certificate revoked", 45: "certificate expired",
        46: "certificate unknown", 47: "illegal parameter", 48: "unknown CA", 49: "access denied", 50: "decode error",
        51: "decrypt error", 70: "protocol version", 71: "insufficient security", 80: "internal error",
        86: "inappropriate fallback", 90: "user canceled", 109: "missing extension", 110: "unsupported extension",
        112: "unrecognized name", 113: "bad certificate status response", 115: "unknown PSK identity",
        116: "certificate required", 120: "no application protocol",
    ]

    /// What it means that the peer sent it, in words that help who must act on it.
    func description(own credentials: TLSCredentials) -> String {
        let meaning =
            switch credentials {
            case .certificates(let credentials): meaning(credentials.certificate) ?? meaning
            case .keys(let keys): meaning(keys) ?? meaning
            }
        return "the peer refused with the alert '\(name)' (\(rawValue))" + (meaning.map { ": \($0)" } ?? "")
    }

    private var meaning: String? {
        switch rawValue {
        case 115, 116: "one of us uses certificates and the other pre-shared keys; set tls.psk on both hosts or on neither"
        case 120:
            "it does not speak \(ApplicationProtocol.name); another program, or a relay of another version, has that address"
        case 70: "it does not offer TLS 1.3"
        case 40, 71:
            "no cipher suite or key exchange suits both sides, or only one of them uses pre-shared keys"
        case 51, 20: "what we sent reached it changed; something on the way interferes with the connection"
        case 80: "its own fault; the peer's log may say more"
        default: nil
        }
    }

    /// `own`: the certificate that the peer saw.
    private func meaning(_ own: Certificate) -> String? {
        switch rawValue {
        case 48:
            "our certificate (\(own.subject)), issued by \(own.issuer), is not of the CA in the peer's CA file; "
                + "give both hosts certificates of one CA, and its certificate as CA file"
        case 45:
            "our certificate (\(own.subject)) is valid until \(describeTime(own.notAfter)); "
                + "issue a new one, or check the peer's clock"
        case 44: "our certificate (\(own.subject)) is on the peer's list of revoked ones; issue a new one"
        case 42, 46:
            "our certificate (\(own.subject)), valid from \(describeTime(own.notBefore)), is not acceptable to it; "
                + "the peer's log says why; check its clock and its CA file"
        case 43:
            "our certificate (\(own.subject)) is not meant for this; its extended key usage must hold serverAuth and "
                + "clientAuth, as 'culvert certs issue' sets it"
        case 116: "it wants a certificate and got none"
        default: nil
        }
    }

    private func meaning(_ own: PreSharedKeys) -> String? {
        switch rawValue {
        case 115:
            "it has no pre-shared key for '\(own.user)', as which this relay presents itself, or knows its peers by "
                + "certificates; its file needs a line '\(own.user):KEY'"
        case 47, 51, 20:
            "its key for '\(own.user)' is not the one that our file \(own.file) has for it; both hosts need the same"
        default: nil
        }
    }
}
