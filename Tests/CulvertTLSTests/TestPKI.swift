import COpenSSL
import Foundation

@testable import CulvertTLS

/// Certificates and keys in a directory of their own, made for one test and gone with it.
final class TestPKI {
    let directory: String
    private(set) var authority: CertificateAuthority

    init(name: String = "Test CA") throws {
        directory = NSTemporaryDirectory() + "culvert-tls-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        authority = try CertificateAuthority(CertificateTerms(name: name, days: 3650))
        try write(authority.certificate.pem(), "ca.pem")
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func path(_ name: String) -> String { directory + "/" + name }

    @discardableResult
    func write(_ bytes: [UInt8], _ name: String, mode: Int = 0o600) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: path(name)))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path(name))
        return path(name)
    }

    /// Issues a host certificate for `name` after `edit` has changed its terms.
    func issue(_ name: String, _ edit: (inout CertificateTerms) -> Void = { _ in }) throws -> TLSFiles {
        var terms = CertificateTerms(name: name, days: 30)
        terms.dnsNames = [name]
        edit(&terms)
        let (certificate, key) = try authority.issue(terms)
        return TLSFiles(
            ca: path("ca.pem"),
            certificate: try write(certificate.pem(), name + ".pem"),
            key: try write(key.pem(), name + ".key"))
    }

    func context(
        _ name: String, _ backend: TLSBackend, _ records: TLSRecords = .library,
        _ edit: (inout CertificateTerms) -> Void = { _ in }
    ) throws -> TLSContext {
        try TLSContext(files: issue(name, edit), backend, records)
    }

    /// A CA of any make: below `issuer` if there is one, with `constraints` as its basic constraints.
    func authority(
        _ name: String, below issuer: CertificateAuthority? = nil, constraints: String = "critical,CA:TRUE",
        _ edit: (inout CertificateTerms) -> Void = { _ in }
    ) throws -> CertificateAuthority {
        var terms = CertificateTerms(name: name, days: 300)
        edit(&terms)
        let key = try PrivateKey.make()
        let builder = try CertificateBuilder(terms, key: key)
        try builder.addExtension(NID_basic_constraints, constraints, issuer: issuer?.certificate)
        try builder.addExtension(NID_subject_key_identifier, "hash", issuer: issuer?.certificate)
        let certificate = try builder.signed(by: issuer?.key ?? key, issuer: issuer?.certificate)
        return try CertificateAuthority(
            certificateFile: write(certificate.pem(), name + ".pem"), keyFile: write(key.pem(), name + ".key"))
    }
}

extension TLSContext {
    convenience init(
        files: TLSFiles, _ backend: TLSBackend = .openssl, _ records: TLSRecords = .library
    ) throws(TLSError) {
        try self.init(TLSSettings(.files(files), backend: backend, records: records))
    }
}
