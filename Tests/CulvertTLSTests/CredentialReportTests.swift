import COpenSSL
import Testing

@testable import CulvertTLS

@Suite struct CredentialReportTests {
    private let pki: TestPKI

    init() throws { pki = try TestPKI() }

    private func expectProblems(
        _ files: TLSFiles, identity: String? = nil, _ expected: [(CredentialProblem.Kind, String)],
        at location: SourceLocation = #_sourceLocation
    ) {
        let problems = CredentialReport(files: files, identity: identity).problems
        #expect(problems.map(\.kind) == expected.map(\.0), "\(problems)", sourceLocation: location)
        for (problem, (_, text)) in zip(problems, expected) where !problem.text.contains(text) {
            Issue.record("'\(problem.text)' lacks '\(text)'", sourceLocation: location)
        }
    }

    @Test func goodCredentialsHaveNone() throws {
        let files = try pki.issue("hosta") { $0.dnsNames.append("hosta.example.org") }
        expectProblems(files, [])
        expectProblems(files, identity: "hosta", [])
        expectProblems(files, identity: "HOSTA.example.org", [])
        #expect(CredentialReport(files: files).certificate?.subject == "CN=hosta")
        #expect(CredentialReport(files: files).warnings == [])
    }

    @Test func aMissingNameIsFound() throws {
        let files = try pki.issue("hosta")
        expectProblems(files, identity: "hostb", [(.missingName, "is not for 'hostb' but for hosta; issue one with 'culvert certs issue hostb'")])
        let nameless = try pki.issue("none") { $0.dnsNames = [] }
        expectProblems(nameless, [(.missingName, "carries no DNS name, by which peers know a relay")])
        // A common name is no DNS name.
        expectProblems(nameless, identity: "none", [(.missingName, "carries no DNS name")])
    }

    @Test func aWrongCAIsFound() throws {
        let other = try TestPKI(name: "Elsewhere"), twin = try TestPKI()
        var files = try other.issue("hosta")
        files.ca = pki.path("ca.pem")
        expectProblems(files, [(.wrongCA, "was not issued by the CA in \(pki.path("ca.pem")) but by CN=Elsewhere")])
        files = try twin.issue("hosta")
        files.ca = pki.path("ca.pem")
        expectProblems(files, [(.wrongCA, "another CA of the same name (CN=Test CA)")])
    }

    @Test func datesAreChecked() throws {
        let old = try pki.issue("old") { ($0.notBefore, $0.notAfter) = (0, 1_577_934_245) }
        expectProblems(old, [(.expired, "expired on 2020-01-02 03:04:05 UTC; issue a new one")])
        let early = try pki.issue("early") { ($0.notBefore, $0.notAfter) = (now() + 3600, now() + 7200) }
        expectProblems(early, [(.notYetValid, "is not valid before 20")])
        let soon = try pki.issue("soon") { $0.notAfter = now() + 86_400 }
        #expect(CredentialReport(files: soon).warnings.map { $0.contains("expires on 20") } == [true])
    }

    @Test func anExpiredCAIsFound() throws {
        let key = try PrivateKey.make()
        var terms = CertificateTerms(name: "Old CA", days: 1, from: 1_577_934_245)
        let builder = try CertificateBuilder(terms, key: key)
        try builder.addExtension(NID_basic_constraints, "critical,CA:TRUE", issuer: nil)
        let authority = try builder.signed(by: key, issuer: nil)
        terms = CertificateTerms(name: "hosta", days: 1)
        let hostKey = try PrivateKey.make()
        let host = try CertificateBuilder(terms, key: hostKey)
        try host.addAlternativeNames(dns: ["hosta"], ip: [])
        let files = TLSFiles(
            ca: try pki.write(authority.pem(), "old-ca.pem"),
            certificate: try pki.write(host.signed(by: key, issuer: authority).pem(), "hosta.pem"),
            key: try pki.write(hostKey.pem(), "hosta.key"))
        expectProblems(files, [(.expired, "leads to a CA certificate (CN=Old CA) that expired on 2020-01-03")])
    }

    @Test(arguments: [[], [ExtendedUsage.serverAuth], [.clientAuth]])
    func missingUsagesAreFound(usages: [ExtendedUsage]) throws {
        let files = try pki.issue("hosta") { $0.usages = usages }
        // No extension at all means no restriction.
        let expected: [(CredentialProblem.Kind, String)] =
            usages.isEmpty ? [] : [(.wrongUsage, "extended key usage must hold serverAuth and clientAuth")]
        expectProblems(files, expected)
    }

    @Test func everyProblemIsListed() throws {
        let other = try TestPKI(name: "Elsewhere")
        var files = try other.issue("old") { ($0.notBefore, $0.notAfter) = (0, 1_577_934_245) }
        files.ca = pki.path("ca.pem")
        files.key = try pki.issue("hosta").key
        expectProblems(files, identity: "hosta", [
            (.keyMismatch, "does not match"), (.wrongCA, "but by CN=Elsewhere"), (.expired, "2020"),
            (.missingName, "not for 'hosta' but for old"),
        ])
    }

    @Test func unusableFilesAreListedEach() throws {
        let broken = try pki.write(Array("-----BEGIN CERTIFICATE-----\nx\n".utf8), "broken")
        expectProblems(TLSFiles(ca: "/nowhere/ca", certificate: broken, key: "/nowhere/key"), [
            (.file, "CA file /nowhere/ca: No such file"), (.file, "certificate \(broken): malformed PEM"),
            (.file, "key /nowhere/key: No such file"),
        ])
    }

    @Test func aKeyThatOthersMayReadIsAWarning() throws {
        let files = try pki.issue("hosta")
        try pki.write(CredentialFile(.key, files.key).bytes, "hosta.key", mode: 0o604)
        #expect(CredentialReport(files: files).warnings.map { $0.contains("its mode 0604 lets others") } == [true])
    }
}
