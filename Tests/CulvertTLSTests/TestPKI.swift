import Foundation

@testable import CulvertTLS

/// Certificates and keys in a directory of their own, made for one test and gone with it.
final class TestPKI {
    let directory: String
    let authority: CertificateAuthority

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

    func context(_ name: String, _ edit: (inout CertificateTerms) -> Void = { _ in }) throws -> TLSContext {
        try TLSContext(files: issue(name, edit))
    }
}
