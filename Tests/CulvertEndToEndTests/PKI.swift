import CulvertTLS
import CulvertTestSupport
import Foundation

/// Writes a certificate authority and the certificates of two hosts into a directory.
func writeCredentials(into directory: TemporaryDirectory, for names: [String]) throws {
    func write(_ bytes: [UInt8], _ name: String) throws {
        guard FileManager.default.createFile(
            atPath: directory(name), contents: Data(bytes), attributes: [.posixPermissions: 0o600])
        else { throw SystemError("write \(name)") }
    }
    let authority = try CertificateAuthority(CertificateTerms(name: "Test CA", days: 2))
    try write(authority.certificate.pem(), "ca.pem")
    for name in names {
        var terms = CertificateTerms(name: name, days: 2)
        terms.dnsNames = [name]
        let (certificate, key) = try authority.issue(terms)
        try write(certificate.pem(), "\(name).pem")
        try write(key.pem(), "\(name).key")
    }
}
