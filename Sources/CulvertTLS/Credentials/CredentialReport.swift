/// Something that makes credentials useless for a relay.
public struct CredentialProblem: Sendable, Equatable {
    public enum Kind: String, Sendable {
        /// A file is missing, unreadable or malformed.
        case file
        case keyMismatch = "key-mismatch"
        case wrongCA = "wrong-ca"
        case expired
        case notYetValid = "not-yet-valid"
        /// The extended key usage lacks serverAuth or clientAuth.
        case wrongUsage = "wrong-usage"
        case missingName = "missing-name"
        case revoked
        /// Anything else that a peer would refuse.
        case unacceptable
    }

    public var kind: Kind
    /// For people: what, why, and the next step.
    public var text: String
}

/// Everything that is wrong with a set of credentials, where making a `TLSContext` stops at the first thing.
public struct CredentialReport: Sendable {
    public private(set) var problems: [CredentialProblem] = []
    public private(set) var warnings: [String] = []
    /// The certificate, if its file could be read.
    public private(set) var certificate: Certificate?

    /// Looks at the files as a peer would.
    /// - Parameters:
    ///   - identity: the DNS name that the certificate must carry; nil: any.
    ///   - role: what it is for; nil: both.
    public init(files: TLSFiles, identity: String? = nil, as role: TLSRole? = nil) {
        let authorities = attempt { () throws(TLSError) in try CredentialFile(.ca, files.ca).certificates() }
        let chain = attempt { () throws(TLSError) in try CredentialFile(.certificate, files.certificate).certificates() }
        let keyFile = attempt { () throws(TLSError) in try CredentialFile(.key, files.key) }
        let key = keyFile.flatMap { file in attempt { () throws(TLSError) in try file.privateKey() } }
        let revoked = files.revoked.flatMap { path in
            attempt { () throws(TLSError) in try CredentialFile(.revoked, path).revocationList() }
        }
        warnings += keyFile?.permissionWarning.map { [$0] } ?? []

        guard let chain else { return }
        certificate = chain[0]
        if let key, !key.belongs(to: chain[0]) {
            problems.append(CredentialProblem(kind: .keyMismatch, text: CertificateCredentials.mismatch(files, chain[0])))
        }
        if let authorities {
            let trial = ChainTrial(authorities: authorities, revoked: revoked, roles: role.map { [$0] } ?? [.server, .client])
            problems += Self.chainProblems(chain, trial, files)
        }
        problems += Self.nameProblems(chain[0], identity, files)
        if problems.isEmpty, let warning = CertificateCredentials.expiryWarning(chain[0], files) { warnings.append(warning) }
    }

    private mutating func attempt<Value>(_ read: () throws(TLSError) -> Value) -> Value? {
        do throws(TLSError) {
            return try read()
        } catch {
            problems.append(CredentialProblem(kind: .file, text: error.description))
            return nil
        }
    }

    static func chainProblems(_ chain: [Certificate], _ trial: ChainTrial, _ files: TLSFiles) -> [CredentialProblem] {
        trial.failures(of: chain).map { failure in
            let text = failure.description(
                holder: "certificate \(files.certificate)", caFile: files.ca, authorities: trial.authorities)
            return CredentialProblem(kind: failure.kind, text: text)
        }
    }

    private static func nameProblems(
        _ certificate: Certificate, _ identity: String?, _ files: TLSFiles
    ) -> [CredentialProblem] {
        let names = certificate.names(in: files)
        let remedy = "issue one with 'culvert certs issue \(identity ?? "NAME")'"
        if names.isEmpty {
            let text = "certificate \(files.certificate) carries no DNS name, by which peers know a relay; \(remedy)"
            return [CredentialProblem(kind: .missingName, text: text)]
        }
        guard let identity, !names.contains(identity.lowercased()) else { return [] }
        let text = "certificate \(files.certificate) is not for '\(identity)' but for \(names.joined(separator: ", ")); \(remedy)"
        return [CredentialProblem(kind: .missingName, text: text)]
    }
}
