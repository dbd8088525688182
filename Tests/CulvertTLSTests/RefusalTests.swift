import COpenSSL
import Testing

@testable import CulvertTLS

/// What either side says when it does not want the other.
@Suite struct RefusalTests {
    /// What is wrong with one side's certificate, and what the two sides say of it.
    struct Flaw: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var edit: @Sendable (inout CertificateTerms) -> Void
        /// In the words of the side that refuses, and of the one that is refused.
        var refusing: [String]
        var refused: [String]
    }

    static let flaws = [
        Flaw(
            testDescription: "expired",
            edit: { ($0.notBefore, $0.notAfter) = (1_000_000_000, 1_577_934_245) },
            refusing: ["the peer's certificate (CN=", "expired on 2020-01-02 03:04:05 UTC", "issue a new one"],
            refused: ["'certificate expired' (45)", "valid until 2020-01-02 03:04:05 UTC", "peer's clock"]),
        Flaw(
            testDescription: "not yet valid",
            edit: { ($0.notBefore, $0.notAfter) = (now() + 7200, now() + 14_400) },
            refusing: ["the peer's certificate (CN=", "not valid before 20", "check the clocks"],
            refused: ["'bad certificate' (42)", "valid from 20", "check its clock"]),
    ]

    @Test(arguments: flaws.flatMap { [($0, TLSRole.client), ($0, .server)] }, Pairing.allCases)
    func aBadCertificateIsNamed(flawed: (flaw: Flaw, holder: TLSRole), pairing: Pairing) throws {
        let (flaw, holder) = flawed
        let pki = try TestPKI()
        let pair = try EnginePair(
            client: pki.context(holder == .client ? "bad" : "good", pairing.client) { if holder == .client { flaw.edit(&$0) } },
            server: pki.context(holder == .server ? "bad" : "good", pairing.server) { if holder == .server { flaw.edit(&$0) } })
        let failures = pair.failures()
        let (refusing, refused) = holder == .client ? (failures.server, failures.client) : (failures.client, failures.server)
        expectError(refusing, .peerIdentity, flaw.refusing + ["CN=bad"])
        expectError(refused, .alert, flaw.refused + ["CN=bad"])
    }

    @Test(arguments: Pairing.allCases) func aCertificateForTheOtherSideOnlyIsNamed(pairing: Pairing) throws {
        let pki = try TestPKI()
        let server = try pki.context("bad", pairing.server) { $0.usages = [.clientAuth] }
        let failures = try EnginePair(client: pki.context("good", pairing.client), server: server).failures()
        expectError(failures.client, .peerIdentity, ["(CN=bad) is not meant for this side", "serverAuth and clientAuth"])
        expectError(failures.server, .alert, ["'unsupported certificate' (43)", "(CN=bad) is not meant for this", "extended key usage"])
    }

    @Test(arguments: ["Test CA", "Elsewhere CA"], Pairing.allCases)
    func anotherCAIsNamed(name: String, pairing: Pairing) throws {
        let ours = try TestPKI(), theirs = try TestPKI(name: name)
        let pair = try EnginePair(client: ours.context("hosta", pairing.client), server: theirs.context("hostb", pairing.server))
        let failures = pair.failures()
        let cause = name == "Test CA"
            ? "was issued by another CA of the same name (CN=Test CA) than the one in \(ours.path("ca.pem"))"
            : "was not issued by the CA in \(ours.path("ca.pem")) but by CN=Elsewhere CA"
        expectError(failures.client, .peerIdentity, ["the peer's certificate (CN=hostb)", cause, "certificates of one CA"])
        expectError(failures.server, .alert, ["'unknown CA' (48)", "our certificate (CN=hostb), issued by CN=\(name)"])
    }

    @Test(arguments: Pairing.allCases) func aServerRefusesAnotherCAToo(pairing: Pairing) throws {
        let ours = try TestPKI(), theirs = try TestPKI(name: "Elsewhere CA")
        let client = try theirs.issue("hosta")
        let trusting = TLSFiles(ca: ours.path("ca.pem"), certificate: client.certificate, key: client.key)
        let context = try TLSContext(files: trusting, pairing.client)
        #expect(context.warnings.count == 1 && context.warnings[0].contains("was not issued by the CA"))
        let failures = try EnginePair(client: context, server: ours.context("hostb", pairing.server)).failures()
        expectError(failures.server, .peerIdentity, ["(CN=hosta) was not issued by the CA in", "but by CN=Elsewhere CA"])
        // The client believed to be done and hears of it when it reads.
        expectError(failures.client, .alert, ["'unknown CA' (48)", "our certificate (CN=hosta)"])
    }

    @Test(arguments: Pairing.allCases) func aSelfSignedCertificateIsNamed(pairing: Pairing) throws {
        let pki = try TestPKI()
        let key = try PrivateKey.make()
        let builder = try CertificateBuilder(CertificateTerms(name: "lone", days: 9), key: key)
        let files = TLSFiles(
            ca: pki.path("ca.pem"),
            certificate: try pki.write(builder.signed(by: key, issuer: nil).pem(), "lone.pem"),
            key: try pki.write(key.pem(), "lone.key"))
        let failures = try EnginePair(client: pki.context("hosta", pairing.client), server: TLSContext(files: files, pairing.server)).failures()
        expectError(failures.client, .peerIdentity, ["(CN=lone) is self-signed, not issued by the CA in \(pki.path("ca.pem"))"])
        expectError(failures.server, .alert, ["our certificate (CN=lone)"])
    }

    @Test(arguments: TLSBackend.allCases) func aClientWithoutCertificateIsRefused(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = RawPeer(.client, files: nil, configure: RawPeer.offer("culvert/1"))
        let failure = try peer.meet(pki.context("hostb", backend).makeEngine(.server))
        expectError(failure, .peerIdentity, ["the peer showed no certificate"])
        #expect(peer.alert == TLS13_AD_CERTIFICATE_REQUIRED)
    }

    @Test(arguments: TLSBackend.allCases) func anOldClientIsRefused(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = RawPeer(.client, files: try pki.issue("hosta")) {
            RawPeer.offer("culvert/1")($0)
            _ = COpenSSL_SSL_CTX_set_protocol_versions($0, TLS1_2_VERSION, TLS1_2_VERSION)
        }
        let failure = try peer.meet(pki.context("hostb", backend).makeEngine(.server))
        expectError(failure, .handshake, ["does not offer TLS 1.3"])
        #expect(peer.alert == SSL_AD_PROTOCOL_VERSION)
    }

    @Test(arguments: TLSBackend.allCases) func anOldServerIsRefused(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = RawPeer(.server, files: try pki.issue("hosta")) {
            _ = COpenSSL_SSL_CTX_set_protocol_versions($0, TLS1_2_VERSION, TLS1_2_VERSION)
        }
        let failure = try peer.meet(pki.context("hostb", backend).makeEngine(.client))
        expectError(failure, .alert, ["'protocol version' (70)", "does not offer TLS 1.3"])
    }

    @Test(arguments: [nil, "h2", "culvert/2", "culvert/"], TLSBackend.allCases)
    func aClientOfAnotherProtocolIsRefused(name: String?, backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = RawPeer(.client, files: try pki.issue("hosta"), configure: name.map(RawPeer.offer) ?? { _ in })
        let failure = try peer.meet(pki.context("hostb", backend).makeEngine(.server))
        expectError(failure, .handshake, ["speaks TLS but not culvert/1"])
        #expect(peer.alert == SSL_AD_NO_APPLICATION_PROTOCOL)
    }

    @Test(arguments: TLSBackend.allCases) func anOldClientHearsOfItsVersionRatherThanOfALPN(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = RawPeer(.client, files: try pki.issue("hosta")) {
            _ = COpenSSL_SSL_CTX_set_protocol_versions($0, TLS1_2_VERSION, TLS1_2_VERSION)
        }
        let failure = try peer.meet(pki.context("hostb", backend).makeEngine(.server))
        expectError(failure, .handshake, ["does not offer TLS 1.3"])
    }

    @Test(arguments: TLSBackend.allCases) func aServerWithoutOurProtocolIsRefused(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let engine = try pki.context("hosta", backend).makeEngine(.client)
        let peer = RawPeer(.server, files: try pki.issue("hostb"))
        expectError(peer.meet(engine), .handshake, ["speaks TLS but not culvert/1"])
        #expect(peer.alert == SSL_AD_NO_APPLICATION_PROTOCOL)
        #expect(throws: TLSError.self) { try engine.seal([1]) }
    }

    @Test(arguments: TLSBackend.allCases) func aServerThatRefusesOurProtocolIsNamed(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = RawPeer(.server, files: try pki.issue("hostb")) {
            SSL_CTX_set_alpn_select_cb($0, { _, _, _, _, _, _ in SSL_TLSEXT_ERR_ALERT_FATAL }, nil)
        }
        let failure = try peer.meet(pki.context("hosta", backend).makeEngine(.client))
        expectError(failure, .alert, ["'no application protocol' (120)", "does not speak culvert/1"])
    }

    @Test(arguments: TLSBackend.allCases) func rawPeersOfTheRightKindAreWelcome(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let client = RawPeer(.client, files: try pki.issue("hosta"), configure: RawPeer.offer("culvert/1"))
        #expect(try client.meet(pki.context("hostb", backend).makeEngine(.server)) == nil)
        #expect(client.isConnected)
        let server = RawPeer(.server, files: try pki.issue("hosta"), configure: RawPeer.agree)
        #expect(try server.meet(pki.context("hostb", backend).makeEngine(.client)) == nil)
        #expect(server.isConnected)
    }

    @Test(arguments: [
        (bytes: "GET / HTTP/1.1\r\nHost: hostb\r\n\r\n", text: "the peer speaks plain HTTP, not TLS"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", text: "the peer speaks plain HTTP, not TLS"),
        ("SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "the peer speaks SSH, not TLS"),
        ("QEMU live migration\n", "the peer does not speak TLS (it began with 'QEMU live migrat')"),
        ("\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}", "the peer does not speak TLS (it began with bytes 00 01 02 03 04 05 06)"),
    ], InteroperationTests.kinds)
    func anotherProtocolIsNamed(opening: (bytes: String, text: String), kind: InteroperationTests.Kind) throws {
        let pki = try TestPKI()
        let engine = try pki.context("hosta", kind.backend).makeEngine(kind.role)
        var input = Array(opening.bytes.utf8)
        let error = try #require(#expect(throws: TLSError.self) { try engine.handshake(taking: &input) })
        expectError(error, .handshake, [opening.text, "check that address and port"])
        // Whatever is asked of it now, it fails the same way.
        #expect(throws: error) { try engine.seal([1, 2, 3]) }
        #expect(throws: error) { try engine.open(&input) }
    }

    @Test(arguments: 0 ..< 200 as Range<UInt64>, TLSBackend.allCases)
    func randomBytesAreRefused(seed: UInt64, backend: TLSBackend) throws {
        var random = SeededGenerator(seed)
        let engine = try Self.shared.get()[backend]!.makeEngine(seed % 2 == 0 ? .client : .server)
        // Half of them look like the start of a record. Enough for the largest record and message that may be waited for.
        var input = (seed % 4 < 2 ? [22, 3, 1, 0, 200] : []) + random.bytes(70_000)
        #expect(throws: TLSError.self) { try engine.handshake(taking: &input, step: Int(random.next() % 100) + 1) }
    }

    private static let shared = Result {
        let pki = try TestPKI()
        return Dictionary(uniqueKeysWithValues: try TLSBackend.allCases.map { ($0, try pki.context("hosta", $0)) })
    }

    /// What somebody on the way does to a handshake ends it, for at least one side.
    @Test(arguments: 0 ..< 60 as Range<UInt64>, Pairing.allCases)
    func aChangedHandshakeDoesNotPass(seed: UInt64, pairing: Pairing) throws {
        var random = SeededGenerator(seed)
        let contexts = try Self.shared.get()
        let pair = try EnginePair(client: contexts[pairing.client]!, server: contexts[pairing.server]!)
        // 0: the ClientHello; 1: the server's flight; 2: the client's.
        let flight = Int(seed % 3)
        var failed = false
        for number in 0 ..< 3 where !failed {
            let isServers = number == 1
            do {
                _ = try isServers ? pair.server.handshake(taking: &pair.toServer) : pair.client.handshake(taking: &pair.toClient)
            } catch {
                failed = true
            }
            var wire = isServers ? pair.server.output() : pair.client.output()
            // The header of a record is not authenticated in the handshake.
            if number == flight, wire.count > 5 {
                wire[Int.random(in: 5 ..< wire.count, using: &random)] ^= 1 << UInt8(random.next() % 8)
            }
            if isServers { pair.toClient += wire } else { pair.toServer += wire }
        }
        let failures = pair.failures()
        #expect(failed || failures.client != nil || failures.server != nil || pair.isStuck)
    }

    @Test(arguments: TLSBackend.allCases) func aPeerThatClosesInTheHandshakeIsNamed(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let engine = try pki.context("hosta", backend).makeEngine(.client)
        var closeNotify: [UInt8] = [21, 3, 3, 0, 2, 1, 0]
        let error = #expect(throws: TLSError.self) { try engine.handshake(taking: &closeNotify) }
        expectError(error, .alert, ["closed the connection during the handshake"])
    }
}
