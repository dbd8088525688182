import Testing

@testable import CulvertTLS

@Suite struct HandshakeTests {
    @Test func bothSidesLearnWhoThePeerIs() throws {
        let pki = try TestPKI()
        let pair = try EnginePair(client: pki.context("hosta"), server: pki.context("hostb"))
        try pair.handshake()
        #expect(pair.client.peer.dnsNames == ["hostb"])
        #expect(pair.server.peer.dnsNames == ["hosta"])
        #expect(pair.server.peer.subject == "CN=hosta")
        #expect(pair.client.summary == "OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384")
    }
}
