import COpenSSL

/// A CA with its key: what makes certificates for hosts.
public struct CertificateAuthority: Sendable {
    public let certificate: Certificate
    public let key: PrivateKey

    /// Makes a self-signed CA on a new P-256 key. Only `name` and the dates of `terms` count.
    public init(_ terms: CertificateTerms) throws(TLSError) {
        try terms.check()
        key = try PrivateKey.make()
        let builder = try CertificateBuilder(terms, key: key)
        try builder.addExtension(NID_basic_constraints, "critical,CA:TRUE,pathlen:0", issuer: nil)
        try builder.addExtension(NID_key_usage, "critical,keyCertSign,cRLSign", issuer: nil)
        try builder.addExtension(NID_subject_key_identifier, "hash", issuer: nil)
        certificate = try builder.signed(by: key, issuer: nil)
    }

    /// Reads a CA made earlier. Errors name the file at fault.
    public init(certificateFile: String, keyFile: String) throws(TLSError) {
        certificate = try CredentialFile(.ca, certificateFile).certificates()[0]
        key = try CredentialFile(.key, keyFile).privateKey()
        guard key.belongs(to: certificate) else {
            throw TLSError(.credentials, "key \(keyFile) does not match CA certificate \(certificateFile)")
        }
        guard X509_check_ca(certificate.x509) == 1 else {
            throw TLSError(.credentials, "certificate \(certificateFile) is not a CA's; give the CA's own")
        }
        guard now() < certificate.notAfter else {
            throw TLSError(
                .credentials, "CA certificate \(certificateFile) expired on \(describeTime(certificate.notAfter)); "
                    + "make a new CA with 'culvert certs init'")
        }
    }

    /// A certificate on a new P-256 key. It ends no later than the CA does.
    public func issue(_ terms: CertificateTerms) throws(TLSError) -> (certificate: Certificate, key: PrivateKey) {
        var terms = terms
        terms.notAfter = min(terms.notAfter, certificate.notAfter)
        try terms.check()
        let hostKey = try PrivateKey.make()
        let builder = try CertificateBuilder(terms, key: hostKey)
        try builder.addExtension(NID_basic_constraints, "critical,CA:FALSE", issuer: certificate)
        try builder.addExtension(NID_key_usage, "critical,digitalSignature", issuer: certificate)
        if !terms.usages.isEmpty {
            let usages = terms.usages.map(\.rawValue).joined(separator: ",")
            try builder.addExtension(NID_ext_key_usage, usages, issuer: certificate)
        }
        try builder.addExtension(NID_subject_key_identifier, "hash", issuer: certificate)
        try builder.addExtension(NID_authority_key_identifier, "keyid", issuer: certificate)
        try builder.addAlternativeNames(dns: terms.dnsNames, ip: terms.ipAddresses)
        return (try builder.signed(by: key, issuer: certificate), hostKey)
    }
}
