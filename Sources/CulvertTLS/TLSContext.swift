/// The library that does handshakes and ciphers.
public enum TLSBackend: String, Sendable, CaseIterable { case openssl, gnutls }

/// Whose ciphers carry the records that follow the handshake.
public enum TLSRecords: String, Sendable, CaseIterable {
    /// The fastest of this host.
    case auto
    /// Those of the library that shakes hands.
    case library
}

/// What a relay is told of TLS.
public struct TLSSettings: Sendable, Equatable {
    public var backend = TLSBackend.openssl
    public var records = TLSRecords.auto
    public var source: CredentialSource

    public init(_ source: CredentialSource, backend: TLSBackend = .openssl, records: TLSRecords = .auto) {
        self.source = source
        self.backend = backend
        self.records = records
    }
}

/// Loaded credentials and settings from which engines are made; immutable, so a reload makes a new one.
public final class TLSContext: Sendable {
    /// For people: what should be seen to but does not keep the credentials from working now.
    public let warnings: [String]
    /// For people: why the records have the handshake's library's ciphers though others were to be preferred; nil if it
    /// is otherwise.
    public let obstacleToFasterRecords: String?

    private let accepting: Side
    private let dialling: Side
    /// Nil if records are the handshake's library's business.
    private let accelerator: IPSecMB?

    /// What one role works with.
    private struct Side: Sendable {
        let credentials: TLSCredentials
        let source: any HandshakeSource

        init(_ credentials: TLSCredentials, _ backend: TLSBackend) throws(TLSError) {
            self.credentials = credentials
            source =
                switch backend {
                case .openssl: try OpenSSLContext(credentials)
                case .gnutls: try GnuTLSContext(credentials)
                }
        }
    }

    /// Reads the files. A peer is accepted only with a certificate that leads to one in the CA file, or with its
    /// pre-shared key; the system's store of authorities plays no part.
    /// - Throws: `TLSError` with code `credentials`, which names the file at fault.
    public init(_ settings: TLSSettings) throws(TLSError) {
        (accelerator, obstacleToFasterRecords) =
            switch (settings.records, IPSecMB.shared) {
            case (.library, _): (nil, nil)
            case (.auto, .success(let found)): (found, nil)
            case (.auto, .failure(let fault)): (nil, "ipsec-mb is not used: \(fault.reason)")
            }
        switch settings.source {
        case .files(let files):
            let credentials = try CertificateCredentials(files)
            warnings = credentials.warnings
            accepting = try Side(.certificates(credentials), settings.backend)
            dialling = accepting
        case .directory(let path):
            let layout = try CredentialDirectory(path)
            let (server, client) = (
                try CertificateCredentials(layout.accepting, as: .server),
                try CertificateCredentials(layout.dialling, as: .client))
            warnings = server.warnings + client.warnings.filter { !server.warnings.contains($0) }
            accepting = try Side(.certificates(server), settings.backend)
            dialling = try Side(.certificates(client), settings.backend)
        case .keys(let file, let user):
            let keys = try PreSharedKeys(file: file, user: user)
            warnings = keys.warnings
            accepting = try Side(.keys(keys), settings.backend)
            dialling = accepting
        }
    }

    /// - Parameter peer: whom a client wants to reach. With pre-shared keys this chooses the key, and so is required;
    ///   with certificates the caller compares `TLSEngine.peer` with it.
    public func makeEngine(_ role: TLSRole, with peer: String? = nil) throws(TLSError) -> any TLSEngine {
        let side = role == .server ? accepting : dialling
        let handshake = try side.source.makeHandshake(role, with: peer)
        return Engine(handshake, role, credentials: side.credentials, accelerator: accelerator)
    }

    /// Why no connection with the peer can come about, as far as our credentials go; nil if they do not stand in the way.
    public func obstacle(to peer: String) -> String? {
        guard case .keys(let keys) = accepting.credentials, keys.key(of: peer) == nil else { return nil }
        return keys.missing(peer)
    }
}
