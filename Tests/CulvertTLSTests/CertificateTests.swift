import Foundation
import Testing

@testable import CulvertTLS

@Suite struct CertificateTests {
    private let start = 1_700_000_000.0

    private func terms(_ name: String) -> CertificateTerms { CertificateTerms(name: name, days: 30, from: start) }

    @Test func anAuthoritySaysWhatItIs() throws {
        let authority = try CertificateAuthority(CertificateTerms(name: "Grüße, CA", days: 10, from: start))
        let certificate = authority.certificate
        #expect(certificate.subject == "CN=Grüße\\, CA")
        #expect(certificate.issuer == certificate.subject)
        #expect(certificate.isAuthority)
        #expect(certificate.keyType == "EC P-256")
        #expect(certificate.notBefore == start)
        #expect(certificate.notAfter == start + 10 * 86_400)
        #expect(certificate.usages == nil)
        #expect(authority.key.belongs(to: certificate))
    }

    @Test func aHostCertificateCarriesItsNames() throws {
        let pki = try TestPKI()
        var wanted = CertificateTerms(name: "hosta", days: 825)
        wanted.dnsNames = ["HostA", "hosta.example.org", "_x.y-z.1"]
        wanted.ipAddresses = ["10.0.0.1", "fd00:0::0001"]
        let (certificate, key) = try pki.authority.issue(wanted)
        #expect(certificate.subject == "CN=hosta")
        #expect(certificate.issuer == "CN=Test CA")
        #expect(certificate.dnsNames == ["hosta", "hosta.example.org", "_x.y-z.1"])
        #expect(certificate.ipAddresses == ["10.0.0.1", "fd00::1"])
        #expect(certificate.usages == [.serverAuth, .clientAuth])
        #expect(!certificate.isAuthority)
        #expect(key.belongs(to: certificate))
        #expect(!key.belongs(to: pki.authority.certificate))
        #expect(abs(certificate.notBefore - (now() - 3600)) < 60)
        #expect(abs(certificate.notAfter - (now() + 825 * 86_400)) < 60)
    }

    @Test func noTwoCertificatesAreTheSame() throws {
        let authority = try TestPKI().authority
        let prints = try Set((0 ..< 20).map { _ in try authority.issue(CertificateTerms(name: "a", days: 1)).certificate.fingerprint })
        #expect(prints.count == 20)
        #expect(prints.allSatisfy { $0.wholeMatch(of: /([0-9A-F]{2}:){31}[0-9A-F]{2}/) != nil })
    }

    @Test func aCertificateEndsWithItsCA() throws {
        let authority = try CertificateAuthority(CertificateTerms(name: "short", days: 5))
        let (certificate, _) = try authority.issue(CertificateTerms(name: "a", days: 825))
        #expect(certificate.notAfter == authority.certificate.notAfter)
    }

    @Test func pemSurvivesARoundTrip() throws {
        let pki = try TestPKI()
        let files = try pki.issue("hosta")
        let certificate = try Certificate.read(files.certificate)[0]
        let key = try CredentialFile(.key, files.key).privateKey()
        #expect(try certificate.pem() == CredentialFile(.certificate, files.certificate).bytes)
        #expect(try key.pem() == CredentialFile(.key, files.key).bytes)
        #expect(key.belongs(to: certificate))
    }

    @Test(arguments: ["", "a b", "*.example.org", "a..b", ".a", "a.", "a,DNS:b", "ä", "a/b", String(repeating: "a", count: 64)])
    func aBadNameIsRefused(name: String) throws {
        var wanted = terms("hosta")
        wanted.dnsNames = ["hosta", name]
        let error = #expect(throws: TLSError.self) { try wanted.check() }
        expectError(error, .credentials, ["'\(name)' is no DNS name"])
    }

    @Test(arguments: ["", "1.2.3", "1.2.3.4.5", "::g", "hosta", "10.0.0.1/8"])
    func aBadAddressIsRefused(address: String) throws {
        var wanted = terms("hosta")
        wanted.ipAddresses = [address]
        let error = #expect(throws: TLSError.self) { try wanted.check() }
        expectError(error, .credentials, ["'\(address)' is no IP address"])
    }

    @Test func badTermsAreRefused() throws {
        for name in ["", String(repeating: "n", count: 65)] {
            let error = #expect(throws: TLSError.self) { try terms(name).check() }
            expectError(error, .credentials, ["1 to 64 bytes"])
        }
        let error = #expect(throws: TLSError.self) { try CertificateTerms(name: "a", days: 0, from: start).check() }
        expectError(error, .credentials, ["cannot end before it begins"])
    }

    @Test(arguments: [
        (0.0, "1970-01-01 00:00:00 UTC"), (1_577_934_245.9, "2020-01-02 03:04:05 UTC"), (-1.5, "1969-12-31 23:59:58 UTC"),
        (253_402_300_799, "9999-12-31 23:59:59 UTC"),
    ])
    func timesAreReadable(seconds: Double, text: String) {
        #expect(describeTime(seconds) == text)
    }

    /// What another implementation makes of our certificates.
    @Test func opensslAgrees() throws {
        let pki = try TestPKI()
        let files = try pki.issue("hosta")
        for purpose in ["sslserver", "sslclient"] {
            let openssl = Process()
            openssl.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            openssl.arguments = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", files.ca, files.certificate]
            openssl.standardOutput = FileHandle.nullDevice
            try openssl.run()
            openssl.waitUntilExit()
            #expect(openssl.terminationStatus == 0)
        }
    }
}
