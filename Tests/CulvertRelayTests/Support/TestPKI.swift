import CulvertTLS
import Foundation

/// One certificate authority, and certificates of it in a directory.
struct TestPKI {
    private let authority: CertificateAuthority
    private let directory: TestDirectory
    private let caFile: String

    /// - Parameter name: of the CA, and of its file.
    init(_ directory: TestDirectory, name: String = "ca") throws {
        self.directory = directory
        caFile = directory["\(name).pem"]
        authority = try CertificateAuthority(CertificateTerms(name: name, days: 30))
        try Data(authority.certificate.pem()).write(to: URL(filePath: caFile))
    }

    /// Credentials of `host`, which shares a pre-shared key with each of `peers`.
    func keys(_ host: String, sharedWith peers: [String: String], backend: TLSBackend) throws -> TLSContext {
        let file = directory["\(host)-\(UInt32.random(in: .min ... .max)).psk"]
        let lines = peers.map { "\($0.key):\($0.value)\n" }.joined()
        try Data(lines.utf8).write(to: URL(filePath: file))
        return try TLSContext(TLSSettings(.keys(file: file, user: host), backend: backend))
    }

    /// Credentials of a host whose certificate carries `name`, after `edit` has changed its terms.
    /// - Parameter trusting: another CA, whose certificates this host accepts instead of those of its own.
    func context(
        _ name: String, trusting other: TestPKI? = nil, backend: TLSBackend = .openssl, _ edit: (inout CertificateTerms) -> Void = { _ in }
    ) throws -> TLSContext {
        var terms = CertificateTerms(name: name, days: 20)
        terms.dnsNames = [name]
        edit(&terms)
        let issued = try authority.issue(terms)
        let file = directory["host-\(UInt32.random(in: .min ... .max))"]
        try Data(issued.certificate.pem()).write(to: URL(filePath: file + ".pem"))
        try Data(issued.key.pem()).write(to: URL(filePath: file + ".key"))
        let files = TLSFiles(ca: (other ?? self).caFile, certificate: file + ".pem", key: file + ".key")
        return try TLSContext(TLSSettings(.files(files), backend: backend))
    }
}
