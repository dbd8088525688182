import Glibc

/// A directory with a CA (`ca.pem`, `ca.key`) and the certificates it issued (`NAME.pem`, `NAME.key`). Keys have mode
/// 0600, certificates 0644.
public struct PKIDirectory: Sendable {
    public let path: String

    public init(_ path: String) { self.path = path }

    /// The files of the host `name`.
    public func files(of name: String) -> TLSFiles {
        TLSFiles(ca: file("ca.pem"), certificate: file("\(name).pem"), key: file("\(name).key"))
    }

    public var authorityKey: String { file("ca.key") }

    /// Makes a CA, and the directory if it is missing. A CA that is there already stays, for every certificate depends on it.
    @discardableResult
    public func makeAuthority(_ terms: CertificateTerms) throws(TLSError) -> CertificateAuthority {
        let files = files(of: "ca")
        for path in [files.certificate, files.key] where access(path, F_OK) == 0 {
            throw TLSError(
                .credentials, "\(path) exists; issue certificates with this CA, or give another directory for a new one")
        }
        let authority = try CertificateAuthority(terms)
        try NewFile.makeDirectory(path)
        try write(authority.certificate, authority.key, to: files, replacing: false)
        return authority
    }

    /// Issues a certificate to the host `terms.name`.
    /// - Parameter replacing: whether files of that host may be replaced.
    @discardableResult
    public func issue(_ terms: CertificateTerms, replacing: Bool = false) throws(TLSError) -> Certificate {
        let files = files(of: terms.name)
        guard CertificateTerms.isHostName(terms.name), terms.name != "ca" else {
            throw TLSError(.credentials, "'\(terms.name)' cannot be a host's name here: it names files beside ca.pem")
        }
        for path in [files.certificate, files.key] where !replacing && access(path, F_OK) == 0 {
            throw TLSError(.credentials, "\(path) exists; --force replaces it, and its key with it")
        }
        let authority = try CertificateAuthority(certificateFile: files.ca, keyFile: authorityKey)
        let (certificate, key) = try authority.issue(terms)
        try write(certificate, key, to: files, replacing: replacing)
        return certificate
    }

    private func write(
        _ certificate: Certificate, _ key: PrivateKey, to files: TLSFiles, replacing: Bool
    ) throws(TLSError) {
        try NewFile.write(key.pem(), to: files.key, mode: 0o600, replacing: replacing)
        do throws(TLSError) {
            try NewFile.write(certificate.pem(), to: files.certificate, mode: 0o644, replacing: replacing)
        } catch {
            // A key without its certificate only stands in the way.
            if !replacing { unlink(files.key) }
            throw error
        }
    }

    private func file(_ name: String) -> String { path.hasSuffix("/") ? path + name : "\(path)/\(name)" }
}
