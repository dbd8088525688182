import COpenSSL

/// Why a certificate is not acceptable, as OpenSSL found it.
struct VerificationFailure {
    /// `X509_V_ERR_…`
    var code: Int32
    /// 0 for the certificate itself, above that for those it leads to.
    var depth: Int32
    /// The one that OpenSSL objects to; nil if none was at hand.
    var certificate: Certificate?

    /// What a verification that just failed has to say.
    init(_ store: OpaquePointer) {
        code = X509_STORE_CTX_get_error(store)
        depth = X509_STORE_CTX_get_error_depth(store)
        certificate = X509_STORE_CTX_get_current_cert(store).map { Certificate(borrowing: $0) }
    }

    var kind: CredentialProblem.Kind {
        switch code {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
            X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_CERT_SIGNATURE_FAILURE:
            .wrongCA
        case X509_V_ERR_CERT_HAS_EXPIRED: .expired
        case X509_V_ERR_CERT_NOT_YET_VALID: .notYetValid
        case X509_V_ERR_INVALID_PURPOSE: .wrongUsage
        case X509_V_ERR_CERT_REVOKED: .revoked
        default: .unacceptable
        }
    }

    /// What tells the peer of it, as OpenSSL chooses it.
    var alert: Alert {
        switch kind {
        case .wrongCA: .unknownCA
        case .expired: .certificateExpired
        case .wrongUsage: .unsupportedCertificate
        case .revoked: .certificateRevoked
        default: .badCertificate
        }
    }

    /// A sentence about `holder` (as in "the peer's certificate"), without a full stop.
    func description(holder: String, caFile: String, authorities: [Certificate]) -> String {
        let name = certificate.map { " (\($0.subject))" } ?? ""
        let what = depth == 0 ? "\(holder)\(name)" : "\(holder) leads to a CA certificate\(name) that"
        switch kind {
        case .wrongCA:
            return "\(what) \(wrongIssuer(caFile, authorities))"
        case .expired:
            let date = certificate.map { " on \(describeTime($0.notAfter))" } ?? ""
            return "\(what) expired\(date); issue a new one"
        case .notYetValid:
            let date = certificate.map { " before \(describeTime($0.notBefore))" } ?? ""
            return "\(what) is not valid\(date); check the clocks of both hosts (this one says \(describeTime(now())))"
        case .wrongUsage:
            return "\(what) is not meant for this side of TLS; its extended key usage must hold serverAuth and clientAuth, "
                + "as 'culvert certs issue' sets it"
        case .revoked:
            return "\(what) was revoked by its CA; issue a new one"
        default:
            return "\(what) is not acceptable: \(String(cString: X509_verify_cert_error_string(Int(code))))"
        }
    }

    private func wrongIssuer(_ caFile: String, _ authorities: [Certificate]) -> String {
        guard let certificate else { return "was not issued by the CA in \(caFile)" }
        if code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT {
            return "is self-signed, not issued by the CA in \(caFile); issue one with 'culvert certs issue'"
        }
        let remedy = "both hosts need certificates of one CA, and its certificate as CA file"
        if authorities.contains(where: certificate.namesIssuer) {
            return "was issued by another CA of the same name (\(certificate.issuer)) than the one in \(caFile); \(remedy)"
        }
        return "was not issued by the CA in \(caFile) but by \(certificate.issuer); \(remedy)"
    }
}
