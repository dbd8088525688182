import COpenSSL
import Testing

@testable import CulvertTLS

@Suite struct HandshakeTests {
    @Test(arguments: Pairing.allRecords) func bothSidesLearnWhoThePeerIs(pairing: Pairing) throws {
        let pki = try TestPKI()
        let end = now().rounded(.down) + 86_400
        let pair = try EnginePair(
            client: pki.context("hosta", pairing.client, pairing.clientRecords) { $0.dnsNames = ["HostA", "hosta.example.org"] },
            server: pki.context("hostb", pairing.server, pairing.serverRecords) { $0.notAfter = end })
        try pair.handshake()
        #expect(pair.client.peer == PeerIdentity(subject: "CN=hostb", names: ["hostb"], notAfter: end))
        #expect(pair.server.peer.subject == "CN=hosta")
        #expect(pair.server.peer.names == ["hosta", "hosta.example.org"])
        pair.expectSummaries(pairing, suite: "TLS_AES_256_GCM_SHA384")
        #expect(try pair.client.handshake(UnsafeRawBufferPointer(start: nil, count: 0)).done)
        #expect(pair.toClient.isEmpty && pair.toServer.isEmpty, "no session tickets, nothing left over")
        try pair.expectService()
    }

    @Test(arguments: [1, 2, 5, 100, 1000], Pairing.allCases)
    func inputMayComeInPieces(step: Int, pairing: Pairing) throws {
        let pki = try TestPKI()
        let pair = try EnginePair(client: pki.context("hosta", pairing.client), server: pki.context("hostb", pairing.server))
        try pair.handshake(step: step)
        #expect(pair.server.peer.names == ["hosta"])
    }

    /// What follows the handshake in the same range belongs to `decrypt`.
    @Test(arguments: Pairing.allCases) func dataRightBehindTheHandshakeIsNotConsumed(pairing: Pairing) throws {
        let pki = try TestPKI()
        let pair = try EnginePair(client: pki.context("hosta", pairing.client), server: pki.context("hostb", pairing.server))
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
    @Test(arguments: Pairing.allCases) func aCAFileMayHoldSeveralCAs(pairing: Pairing) throws {
        let old = try TestPKI(), new = try TestPKI(name: "New CA")
        let certificates = try old.authority.certificate.pem() + new.authority.certificate.pem()
        var hosta = try old.issue("hosta"), hostb = try new.issue("hostb")
        // One of them twice does no harm.
        hosta.ca = try old.write(certificates + old.authority.certificate.pem(), "both.pem")
        hostb.ca = hosta.ca
        let pair = try EnginePair(client: TLSContext(files: hosta, pairing.client), server: TLSContext(files: hostb, pairing.server))
        try pair.handshake()
        #expect(pair.client.peer.names == ["hostb"])
        #expect(pair.server.peer.names == ["hosta"])
    }

    @Test(arguments: Pairing.allCases) func intermediatesComeFromTheCertificateFile(pairing: Pairing) throws {
        let pki = try TestPKI()
        let root = try pki.authority("Root")
        let department = try pki.authority("Department", below: root)
        let (certificate, key) = try department.issue(CertificateTerms(name: "hostb", days: 1))
        let chain = try certificate.pem() + department.certificate.pem()
        let files = TLSFiles(
            ca: pki.path("Root.pem"), certificate: try pki.write(chain, "chain.pem"), key: try pki.write(key.pem(), "hostb.key"))
        let context = try TLSContext(files: files, pairing.client)
        #expect(context.warnings.count == 1 && context.warnings[0].contains("expires on"))
        let pair = try EnginePair(client: context, server: TLSContext(files: files, pairing.server))
        try pair.handshake()
        #expect(pair.client.peer.subject == "CN=hostb")
        #expect(pair.server.peer.subject == "CN=hostb")
    }
}

extension EnginePair {
    func expectSummaries(_ pairing: Pairing, suite: String, at location: SourceLocation = #_sourceLocation) {
        #expect(client.summary == pairing.client.summary(suite, pairing.clientRecords), sourceLocation: location)
        #expect(server.summary == pairing.server.summary(suite, pairing.serverRecords), sourceLocation: location)
    }
}

extension TLSBackend {
    /// What an engine says of itself on this host.
    func summary(_ suite: String, _ records: TLSRecords) -> String {
        let handshake = "\(self == .openssl ? "OpenSSL" : "GnuTLS") TLSv1.3 \(suite)"
        guard records == .auto, suite.contains("GCM"), case .success(let accelerator) = IPSecMB.shared else {
            return handshake
        }
        return "\(handshake), records by \(accelerator.name)"
    }
}
