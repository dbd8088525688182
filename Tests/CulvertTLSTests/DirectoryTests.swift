import COpenSSL
import Foundation
import Testing

@testable import CulvertTLS

/// Credentials as QEMU and libvirt lay them out.
@Suite struct DirectoryTests {
    enum Layout: CaseIterable {
        case qemu, libvirt

        /// From the name of the directory that is configured on.
        var names: [String] {
            switch self {
            case .qemu: ["ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem", "ca-crl.pem"]
            case .libvirt:
                ["../CA/cacert.pem", "servercert.pem", "private/serverkey.pem", "clientcert.pem", "private/clientkey.pem",
                 "../CA/cacrl.pem"]
            }
        }
    }

    private let pki: TestPKI

    init() throws { pki = try TestPKI() }

    /// Lays out credentials of `host` as the manuals tell to make them: the client's certificate has a common name only.
    private func lay(
        _ layout: Layout, _ host: String, _ edit: @escaping (TLSRole, inout CertificateTerms) -> Void = { _, _ in }
    ) throws -> String {
        let directory = pki.path("\(host)/pki")
        for name in ["", "private", "../CA"] {
            try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
        }
        let server = try pki.issue(host) {
            $0.usages = [.serverAuth]
            edit(.server, &$0)
        }
        let serverBytes = try (CredentialFile(.certificate, server.certificate).bytes, CredentialFile(.key, server.key).bytes)
        let client = try pki.issue(host) {
            $0.usages = [.clientAuth]
            $0.dnsNames = []
            edit(.client, &$0)
        }
        let files = [
            try CredentialFile(.ca, server.ca).bytes, serverBytes.0, serverBytes.1,
            try CredentialFile(.certificate, client.certificate).bytes, try CredentialFile(.key, client.key).bytes,
        ]
        for (name, bytes) in zip(layout.names, files) { try pki.write(bytes, "\(host)/pki/\(name)") }
        return directory
    }

    private func context(_ directory: String, _ backend: TLSBackend) throws -> TLSContext {
        try TLSContext(TLSSettings(.directory(directory), backend: backend))
    }

    @Test(arguments: Pairing.allCases, Layout.allCases)
    func eachRoleHasItsCertificate(pairing: Pairing, layout: Layout) throws {
        let a = try context(lay(layout, "hosta"), pairing.client), b = try context(lay(layout, "hostb"), pairing.server)
        #expect(a.warnings.isEmpty && b.warnings.isEmpty)
        let pair = try EnginePair(client: a, server: b)
        try pair.handshake()
        #expect(pair.client.peer.names == ["hostb"])
        #expect(pair.server.peer.names == ["hosta"], "by its common name")
        try pair.expectService()
    }

    @Test(arguments: Layout.allCases) func everyMissingFileIsNamed(layout: Layout) throws {
        let directory = try lay(layout, "hosta")
        try FileManager.default.removeItem(atPath: "\(directory)/\(layout.names[0])")
        try FileManager.default.removeItem(atPath: "\(directory)/\(layout.names[4])")
        let error = #expect(throws: TLSError.self) { try context(directory, .openssl) }
        expectError(error, .credentials, [
            "directory \(directory): laid out for \(layout == .qemu ? "QEMU" : "libvirt")",
            "but without \(directory)/\(layout.names[0]) (the CA), \(directory)/\(layout.names[4]) (its key);",
        ])
    }

    @Test func anotherDirectoryIsNamed() throws {
        let error = #expect(throws: TLSError.self) { try context(pki.directory, .openssl) }
        expectError(error, .credentials, [
            "directory \(pki.directory): holds credentials neither as QEMU lays them out (server-cert.pem",
            "nor as libvirt does (servercert.pem",
        ])
    }

    @Test(arguments: Pairing.allCases) func aRevokedCertificateIsRefused(pairing: Pairing) throws {
        let a = try lay(.qemu, "hosta"), b = try lay(.qemu, "hostb")
        let revoked = try Certificate.read("\(a)/client-cert.pem")[0]
        try pki.write(pki.revocationList([revoked]), "hostb/pki/ca-crl.pem")
        let failures = try EnginePair(client: context(a, pairing.client), server: context(b, pairing.server)).failures()
        expectError(failures.server, .peerIdentity, ["the peer's certificate (CN=hosta) was revoked by its CA"])
        expectError(failures.client, .alert, ["'certificate revoked' (44)", "(CN=hosta) is on the peer's list"])

        try pki.write(pki.revocationList([try Certificate.read("\(a)/server-cert.pem")[0]]), "hostb/pki/ca-crl.pem")
        try EnginePair(client: context(a, pairing.client), server: context(b, pairing.server)).handshake()
    }

    @Test func anUnusableListOfRevokedCertificatesIsNamed() throws {
        let directory = try lay(.qemu, "hosta")
        try pki.write(Array("nothing".utf8), "hosta/pki/ca-crl.pem")
        let error = #expect(throws: TLSError.self) { try context(directory, .openssl) }
        expectError(error, .credentials, ["revocation list \(directory)/ca-crl.pem: holds no list"])
    }

    @Test func aCertificateInTheWrongPlaceIsAWarning() throws {
        let directory = try lay(.qemu, "hosta") { $1.usages = [$0 == .server ? .clientAuth : .serverAuth] }
        let warnings = try context(directory, .openssl).warnings
        #expect(warnings.count == 2 && warnings.allSatisfy { $0.contains("is not meant for this side of TLS") })
    }

    /// Common names count only where nothing better is there, and only where directories are used.
    @Test(arguments: Pairing.allCases) func aCommonNameCountsOnlyWithoutOthers(pairing: Pairing) throws {
        let a = try lay(.qemu, "hosta") { role, terms in if role == .client { terms.ipAddresses = ["10.0.0.1"] } }
        let b = try lay(.qemu, "hostb")
        let pair = try EnginePair(client: context(a, pairing.client), server: context(b, pairing.server))
        try pair.handshake()
        #expect(pair.server.peer.names == [])

        let plain = try EnginePair(
            client: context(lay(.qemu, "hostc"), pairing.client), server: pki.context("hostd", pairing.server))
        try plain.handshake()
        #expect(plain.server.peer.names == [])
    }

    /// Made with certtool(1), as QEMU's manual tells to.
    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/certtool")), arguments: Pairing.allCases)
    func theManualsRecipeWorks(pairing: Pairing) throws {
        func certtool(_ arguments: String...) throws {
            let tool = Process()
            tool.executableURL = URL(fileURLWithPath: "/usr/bin/certtool")
            tool.arguments = arguments
            tool.standardOutput = FileHandle.nullDevice
            tool.standardError = FileHandle.nullDevice
            try tool.run()
            tool.waitUntilExit()
            try #require(tool.terminationStatus == 0)
        }
        let ca = pki.path("cakey.pem"), authority = pki.path("cacert.pem")
        try certtool("--generate-privkey", "--outfile", ca)
        let template = try pki.write(Array("cn = Name of your organization\nca\ncert_signing_key\n".utf8), "ca.info")
        try certtool("--generate-self-signed", "--load-privkey", ca, "--template", template, "--outfile", authority)
        for host in ["hosta", "hostb"] {
            let directory = pki.path(host)
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try FileManager.default.copyItem(atPath: authority, toPath: directory + "/ca-cert.pem")
            for (role, more) in [
                ("server", "dns_name = \(host)\nip_address = 10.0.1.87\ntls_www_server\n"),
                ("client", "country = GB\nlocality = City Of London\ntls_www_client\n"),
            ] {
                let text = "organization = Name of your organization\ncn = \(host)\nsigning_key\n\(more)"
                let template = try pki.write(Array(text.utf8), "\(host)-\(role).info")
                try certtool("--generate-privkey", "--outfile", "\(directory)/\(role)-key.pem")
                try certtool(
                    "--generate-certificate", "--load-ca-certificate", authority, "--load-ca-privkey", ca,
                    "--load-privkey", "\(directory)/\(role)-key.pem", "--template", template,
                    "--outfile", "\(directory)/\(role)-cert.pem")
            }
        }
        let a = try context(pki.path("hosta"), pairing.client), b = try context(pki.path("hostb"), pairing.server)
        let pair = try EnginePair(client: a, server: b)
        try pair.handshake()
        #expect(pair.client.peer.names == ["hostb"])
        #expect(pair.server.peer.names == ["hosta"])
    }

    @Test func reportsTellTheRolesApart() throws {
        let layout = try CredentialDirectory(lay(.libvirt, "hosta"))
        #expect(CredentialReport(files: layout.accepting, identity: "hosta", as: .server).problems.isEmpty)
        #expect(CredentialReport(files: layout.dialling, identity: "hosta", as: .client).problems.isEmpty)
        #expect(CredentialReport(files: layout.dialling, as: .server).problems.map(\.kind) == [.wrongUsage])
        #expect(CredentialReport(files: layout.dialling, identity: "hostb", as: .client).problems.map(\.kind) == [.missingName])
    }
}

extension TestPKI {
    /// The CA's list of what it has revoked.
    func revocationList(_ revoked: [Certificate]) throws -> [UInt8] {
        let list = try #require(X509_CRL_new())
        defer { X509_CRL_free(list) }
        let start = ASN1_TIME_set(nil, time(nil) - 60), end = ASN1_TIME_set(nil, time(nil) + 86_400)
        defer {
            ASN1_TIME_free(start)
            ASN1_TIME_free(end)
        }
        X509_CRL_set_version(list, 1)
        X509_CRL_set_issuer_name(list, X509_get_subject_name(authority.certificate.x509))
        X509_CRL_set1_lastUpdate(list, start)
        X509_CRL_set1_nextUpdate(list, end)
        for certificate in revoked {
            let entry = X509_REVOKED_new()
            X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate.x509))
            X509_REVOKED_set_revocationDate(entry, start)
            X509_CRL_add0_revoked(list, entry)
        }
        try #require(X509_CRL_sign(list, authority.key.pkey, EVP_sha256()) > 0)
        let bio = try #require(BIO_new(BIO_s_mem()))
        defer { BIO_free(bio) }
        PEM_write_bio_X509_CRL(bio, list)
        return contents(of: bio)
    }
}
