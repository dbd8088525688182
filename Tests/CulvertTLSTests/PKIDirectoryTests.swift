import Foundation
import Testing

@testable import CulvertTLS

@Suite struct PKIDirectoryTests {
    private let scratch: TestPKI
    private let pki: PKIDirectory

    init() throws {
        scratch = try TestPKI()
        pki = PKIDirectory(scratch.path("deep/er/pki"))
    }

    private func mode(_ path: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    }

    private func bytes(_ path: String) -> Data? { FileManager.default.contents(atPath: path) }

    private func host(_ name: String) -> CertificateTerms {
        var terms = CertificateTerms(name: name, days: 30)
        terms.dnsNames = [name]
        return terms
    }

    @Test func keysArePrivateAndCertificatesAreNot() throws {
        try pki.makeAuthority(CertificateTerms(name: "CA", days: 100))
        try pki.issue(host("hosta"))
        let files = pki.files(of: "hosta")
        #expect(try mode(files.ca) == 0o644)
        #expect(try mode(files.certificate) == 0o644)
        #expect(try mode(files.key) == 0o600)
        #expect(try mode(pki.authorityKey) == 0o600)
        #expect(CredentialReport(files: files, identity: "hosta").problems.isEmpty)
        #expect(try TLSContext(files: files).warnings == [])
        #expect(try FileManager.default.contentsOfDirectory(atPath: pki.path).count == 4)
    }

    @Test func nothingIsReplacedUnasked() throws {
        try pki.makeAuthority(CertificateTerms(name: "CA", days: 100))
        try pki.issue(host("hosta"))
        let files = pki.files(of: "hosta")
        let before = [files.ca, pki.authorityKey, files.certificate, files.key].map(bytes)

        let authority = #expect(throws: TLSError.self) { try pki.makeAuthority(CertificateTerms(name: "CA", days: 100)) }
        expectError(authority, .credentials, ["\(files.ca) exists", "another directory"])
        let again = #expect(throws: TLSError.self) { try pki.issue(host("hosta")) }
        expectError(again, .credentials, ["\(files.certificate) exists", "--force"])
        try FileManager.default.removeItem(atPath: files.certificate)
        let key = #expect(throws: TLSError.self) { try pki.issue(host("hosta")) }
        expectError(key, .credentials, ["\(files.key) exists"])
        #expect([files.ca, pki.authorityKey, nil, files.key].map { $0.flatMap(bytes) } == [before[0], before[1], nil, before[3]])
    }

    @Test func replacingMakesANewPair() throws {
        try pki.makeAuthority(CertificateTerms(name: "CA", days: 100))
        try pki.issue(host("hosta"))
        let files = pki.files(of: "hosta")
        let before = (bytes(files.certificate), bytes(files.key))
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: files.key)
        try pki.issue(host("hosta"), replacing: true)
        #expect(bytes(files.certificate) != before.0)
        #expect(bytes(files.key) != before.1)
        #expect(try mode(files.key) == 0o600)
        #expect(CredentialReport(files: files).problems.isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: pki.path).count == 4)
    }

    @Test func aHalfWrittenPairDoesNotStay() throws {
        try pki.makeAuthority(CertificateTerms(name: "CA", days: 100))
        // Dangling: `access` sees nothing there, yet nothing can be created.
        try FileManager.default.createSymbolicLink(
            atPath: pki.files(of: "hosta").certificate, withDestinationPath: "/nowhere/at/all")
        let error = #expect(throws: TLSError.self) { try pki.issue(host("hosta")) }
        expectError(error, .credentials, ["hosta.pem: File exists; it stays as it is"])
        #expect(bytes(pki.files(of: "hosta").key) == nil)
    }

    @Test(arguments: ["ca", "../evil", "a b", ""])
    func aNameThatIsNoFileNameIsRefused(name: String) throws {
        try pki.makeAuthority(CertificateTerms(name: "CA", days: 100))
        var terms = CertificateTerms(name: name, days: 1)
        terms.dnsNames = ["a"]
        #expect(throws: TLSError.self) { try pki.issue(terms) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: pki.path).count == 2)
    }

    @Test func withoutACANothingIsIssued() throws {
        let error = #expect(throws: TLSError.self) { try pki.issue(host("hosta")) }
        expectError(error, .credentials, ["CA file \(pki.path)/ca.pem: No such file", "'culvert certs init'"])
    }

    @Test func onlyACASigns() throws {
        let files = try scratch.issue("hosta")
        let host = #expect(throws: TLSError.self) {
            try CertificateAuthority(certificateFile: files.certificate, keyFile: files.key)
        }
        expectError(host, .credentials, ["certificate \(files.certificate) is not a CA's"])
        let mismatch = #expect(throws: TLSError.self) {
            try CertificateAuthority(certificateFile: files.ca, keyFile: files.key)
        }
        expectError(mismatch, .credentials, ["key \(files.key) does not match CA certificate \(files.ca)"])
        let expired = #expect(throws: TLSError.self) {
            try scratch.authority("Old") { ($0.notBefore, $0.notAfter) = (0, 1_577_934_245) }
        }
        expectError(expired, .credentials, ["expired on 2020-01-02 03:04:05 UTC", "'culvert certs init'"])
    }

    @Test func aPathThatIsAFileIsNoDirectory() throws {
        let error = #expect(throws: TLSError.self) {
            try PKIDirectory(scratch.path("ca.pem/x")).makeAuthority(CertificateTerms(name: "CA", days: 1))
        }
        expectError(error, .credentials, ["directory \(scratch.path("ca.pem/x")): Not a directory"])
    }
}
