/// Where the credentials lie.
public enum CredentialSource: Sendable, Equatable {
    /// One certificate for both roles.
    case files(TLSFiles)
    /// A directory as QEMU or libvirt lays it out; see `CredentialDirectory`.
    case directory(String)
    /// A file of pre-shared keys, and the name as which this relay presents itself; see `PreSharedKeys`.
    case keys(file: String, user: String)
}

/// Certificates and their key, all PEM.
public struct TLSFiles: Sendable, Equatable {
    public var ca: String
    public var certificate: String
    public var key: String
    /// Certificates that the CA has revoked; nil if nothing is known of any.
    public var revoked: String?
    /// Whether a certificate that has no alternative names at all is known by its common name.
    public var allowsCommonNames = false

    public init(ca: String, certificate: String, key: String) {
        self.ca = ca
        self.certificate = certificate
        self.key = key
    }
}

/// What `CredentialSource` names, read and parsed, for one role.
enum TLSCredentials: Sendable {
    case certificates(CertificateCredentials)
    case keys(PreSharedKeys)
}
