/// What `TLSFiles` names, read and parsed.
struct CertificateCredentials: Sendable {
    var files: TLSFiles
    var authorities: [Certificate]
    var revoked: RevocationList?
    /// Our own certificate first, then the intermediates that lead to the CA.
    var chain: [Certificate]
    var key: PrivateKey
    /// Things that do not keep the relay from starting but that peers may refuse it for, now or soon.
    var warnings: [String] = []

    var certificate: Certificate { chain[0] }

    /// - Parameter role: what the certificate is for; nil: both.
    init(_ files: TLSFiles, as role: TLSRole? = nil) throws(TLSError) {
        self.files = files
        authorities = try CredentialFile(.ca, files.ca).certificates()
        chain = try CredentialFile(.certificate, files.certificate).certificates()
        let keyFile = try CredentialFile(.key, files.key)
        key = try keyFile.privateKey()
        if let path = files.revoked { revoked = try CredentialFile(.revoked, path).revocationList() }
        guard key.belongs(to: chain[0]) else { throw TLSError(.credentials, Self.mismatch(files, chain[0])) }

        warnings += keyFile.permissionWarning.map { [$0] } ?? []
        let trial = ChainTrial(authorities: authorities, revoked: revoked, roles: role.map { [$0] } ?? [.server, .client])
        let problems = CredentialReport.chainProblems(chain, trial, files)
        warnings += problems.map(\.text)
        if problems.isEmpty { warnings += Self.expiryWarning(chain[0], files).map { [$0] } ?? [] }
    }
}

extension CertificateCredentials {
    /// Long enough before the end to plan a renewal.
    private static let expiryNotice = 14 * 86_400.0

    static func mismatch(_ files: TLSFiles, _ certificate: Certificate) -> String {
        "key \(files.key) does not match certificate \(files.certificate) (\(certificate.subject)); "
            + "give the pair that was issued together"
    }

    static func expiryWarning(_ certificate: Certificate, _ files: TLSFiles) -> String? {
        guard certificate.notAfter - now() < expiryNotice else { return nil }
        return "certificate \(files.certificate) expires on \(describeTime(certificate.notAfter)); issue a new one"
    }
}

extension CredentialFile {
    var permissionWarning: String? {
        guard mode & 0o077 != 0 else { return nil }
        let digits = String(mode & 0o777, radix: 8)
        return "\(kind.rawValue) \(path): its mode 0\(digits) lets others than its owner use it; chmod 600 it"
    }
}
