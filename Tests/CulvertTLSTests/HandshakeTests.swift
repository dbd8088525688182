import COpenSSL
import Testing

@testable import CulvertTLS

@Suite struct HandshakeTests {
    @Test func bothSidesLearnWhoThePeerIs() throws {
        let pki = try TestPKI()
        let end = now().rounded(.down) + 86_400
        let pair = try EnginePair(
            client: pki.context("hosta") { $0.dnsNames = ["HostA", "hosta.example.org"] },
            server: pki.context("hostb") { $0.notAfter = end })
        try pair.handshake()
        #expect(pair.client.peer == PeerCertificate(subject: "CN=hostb", dnsNames: ["hostb"], notAfter: end))
        #expect(pair.server.peer.subject == "CN=hosta")
        #expect(pair.server.peer.dnsNames == ["hosta", "hosta.example.org"])
        #expect(pair.client.summary == "OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384")
        #expect(pair.server.summary == "OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384")
        #expect(try pair.client.handshake(UnsafeRawBufferPointer(start: nil, count: 0)).done)
        #expect(pair.toClient.isEmpty && pair.toServer.isEmpty, "no session tickets, nothing left over")
    }

    @Test(arguments: [1, 2, 5, 100, 1000])
    func inputMayComeInPieces(step: Int) throws {
        let pki = try TestPKI()
        let pair = try EnginePair(client: pki.context("hosta"), server: pki.context("hostb"))
        try pair.handshake(step: step)
        #expect(pair.server.peer.dnsNames == ["hosta"])
    }

    /// What follows the handshake in the same range belongs to `decrypt`.
    @Test func dataRightBehindTheHandshakeIsNotConsumed() throws {
        let pki = try TestPKI()
        let pair = try EnginePair(client: pki.context("hosta"), server: pki.context("hostb"))
        var clientDone = false
        while !clientDone {
            clientDone = try pair.client.handshake(taking: &pair.toClient)
            if clientDone { break }
            pair.toServer += pair.client.output()
            _ = try pair.server.handshake(taking: &pair.toServer)
            pair.toClient += pair.server.output()
        }
        // Pending output (the end of the handshake) and data leave in one buffer.
        pair.toServer += try pair.client.seal(Array("early".utf8))
        #expect(pair.client.pendingOutput == 0)
        #expect(try pair.server.handshake(taking: &pair.toServer))
        #expect(try pair.server.open(&pair.toServer).bytes == Array("early".utf8))
    }

    /// As while one CA gives way to another.
    @Test func aCAFileMayHoldSeveralCAs() throws {
        let old = try TestPKI(), new = try TestPKI(name: "New CA")
        let certificates = try old.authority.certificate.pem() + new.authority.certificate.pem()
        var hosta = try old.issue("hosta"), hostb = try new.issue("hostb")
        // One of them twice does no harm.
        hosta.ca = try old.write(certificates + old.authority.certificate.pem(), "both.pem")
        hostb.ca = hosta.ca
        let pair = try EnginePair(client: TLSContext(files: hosta), server: TLSContext(files: hostb))
        try pair.handshake()
        #expect(pair.client.peer.dnsNames == ["hostb"])
        #expect(pair.server.peer.dnsNames == ["hosta"])
    }

    @Test func intermediatesComeFromTheCertificateFile() throws {
        let pki = try TestPKI()
        let root = try pki.authority("Root")
        let department = try pki.authority("Department", below: root)
        let (certificate, key) = try department.issue(CertificateTerms(name: "hostb", days: 1))
        let chain = try certificate.pem() + department.certificate.pem()
        let files = TLSFiles(
            ca: pki.path("Root.pem"), certificate: try pki.write(chain, "chain.pem"), key: try pki.write(key.pem(), "hostb.key"))
        let context = try TLSContext(files: files)
        #expect(context.warnings.count == 1 && context.warnings[0].contains("expires on"))
        let pair = try EnginePair(client: context, server: context)
        try pair.handshake()
        #expect(pair.client.peer.subject == "CN=hostb")
        #expect(pair.server.peer.subject == "CN=hostb")
    }
}
