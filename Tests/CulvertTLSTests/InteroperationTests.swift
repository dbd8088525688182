import COpenSSL
import Testing

@testable import CulvertTLS

/// Engines against a bare OpenSSL peer that does what engines never do of themselves.
@Suite struct InteroperationTests {
    /// A raw peer and an engine that have shaken hands.
    private static func connect(
        _ kind: Kind, configure: (OpaquePointer) -> Void = { _ in }
    ) throws -> (peer: RawPeer, engine: any TLSEngine) {
        let pki = try TestPKI()
        let peer = try RawPeer(kind.role, files: pki.issue("raw")) {
            kind.role == .client ? RawPeer.offer("culvert/1")($0) : RawPeer.agree($0)
            configure($0)
        }
        let engine = try pki.context("hosta", kind.backend, kind.records).makeEngine(kind.role == .client ? .server : .client)
        let failure = peer.meet(engine)
        #expect(failure == nil && peer.isConnected)
        return (peer, engine)
    }

    /// Sends `count` bytes each way and expects them at the other end.
    private static func exchange(_ peer: RawPeer, _ engine: any TLSEngine, count: Int = 50_000) throws {
        var random = SeededGenerator(UInt64(count))
        let up = random.bytes(count), down = random.bytes(count)
        peer.send(up)
        var wire = peer.takeOutput()
        #expect(try engine.open(&wire).bytes == up)
        let before = peer.received.count
        peer.feed(try engine.seal(down))
        peer.advance()
        #expect(Array(peer.received[before...]) == down)
    }

    /// A role of the raw peer, and what the engine is made of.
    struct Kind: Sendable, CustomTestStringConvertible {
        var role: TLSRole
        var backend: TLSBackend
        var records = TLSRecords.library
        var testDescription: String { "raw \(role), \(backend) (\(records))" }
    }
    static let kinds = [TLSRole.client, .server].flatMap { role in
        TLSBackend.allCases.flatMap { backend in
            TLSRecords.allCases.map { Kind(role: role, backend: backend, records: $0) }
        }
    }

    @Test(arguments: kinds, ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"])
    func everyCipherSuiteWorks(kind: Kind, suite: String) throws {
        let (peer, engine) = try Self.connect(kind) { SSL_CTX_set_ciphersuites($0, suite) }
        #expect(engine.summary == kind.backend.summary(suite, kind.records))
        try Self.exchange(peer, engine)
    }

    @Test(arguments: TLSBackend.allCases) func otherCipherSuitesAreRefused(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let peer = try RawPeer(.client, files: pki.issue("raw")) {
            RawPeer.offer("culvert/1")($0)
            SSL_CTX_set_ciphersuites($0, "TLS_AES_128_CCM_SHA256")
        }
        let failure = try peer.meet(pki.context("hosta", backend).makeEngine(.server))
        expectError(failure, .handshake, ["no cipher suite that this relay takes"])
        #expect(peer.alert == SSL_AD_HANDSHAKE_FAILURE)
    }

    /// A peer with `tickets` sends them after the handshake, where the engine reads data.
    @Test(arguments: TLSBackend.allCases) func sessionTicketsAreIgnored(backend: TLSBackend) throws {
        let (peer, engine) = try Self.connect(Kind(role: .server, backend: backend)) { SSL_CTX_set_num_tickets($0, 5) }
        try Self.exchange(peer, engine)
    }

    @Test(arguments: kinds, [SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED])
    func aKeyUpdateOfThePeerIsFollowed(kind: Kind, request: Int32) throws {
        let (peer, engine) = try Self.connect(kind)
        for _ in 0 ..< 3 {
            SSL_key_update(peer.ssl, request)
            SSL_do_handshake(peer.ssl)
            var wire = peer.takeOutput()
            #expect(wire.count == 5 + 5 + 1 + 16)
            #expect(try engine.open(&wire).bytes == [])
            #expect(wire.isEmpty)
            // The answer, if one was asked for, goes ahead of the next data: a record of 27 bytes.
            let answer = try engine.seal([1])
            #expect(answer.count == (request == SSL_KEY_UPDATE_REQUESTED ? 27 + 23 : 23))
            peer.feed(answer)
            peer.advance()
            try Self.exchange(peer, engine, count: 20_000)
        }
    }

    /// An answer is due once, however often it was asked for (RFC 8446, 4.6.3).
    @Test(arguments: TLSBackend.allCases) func manyRequestsForAKeyUpdateGetOneAnswer(backend: TLSBackend) throws {
        let (peer, engine) = try Self.connect(Kind(role: .client, backend: backend))
        for _ in 0 ..< 20 {
            SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED)
            SSL_do_handshake(peer.ssl)
        }
        var wire = peer.takeOutput()
        #expect(try engine.open(&wire).bytes == [])
        #expect(try engine.seal([1]).count == 27 + 23)
    }

    @Test(arguments: kinds)
    func theEngineRenewsItsKeyInTime(kind: Kind) throws {
        let (peer, engine) = try Self.connect(kind)
        try #require((engine as? Engine)?.records).writer.recordsPerKey = 10
        let counts = try (0 ..< 12).map { _ in
            let wire = try engine.seal([7])
            peer.feed(wire)
            peer.advance()
            return wire.count
        }
        #expect(counts == [Int](repeating: 23, count: 10) + [27 + 23, 23])
        #expect(peer.received == [UInt8](repeating: 7, count: 12))
        try Self.exchange(peer, engine)
    }

    @Test(arguments: kinds)
    func paddedAndSmallRecordsAreRead(kind: Kind) throws {
        let (peer, engine) = try Self.connect(kind) {
            SSL_CTX_set_block_padding($0, 4096)
            SSL_CTX_ctrl($0, SSL_CTRL_SET_MAX_SEND_FRAGMENT, 600, nil)
        }
        try Self.exchange(peer, engine, count: 10_000)
    }

    @Test(arguments: TLSBackend.allCases) func anAlertOfThePeerIsTranslated(backend: TLSBackend) throws {
        let (peer, engine) = try Self.connect(Kind(role: .client, backend: backend))
        var changed = try engine.seal([1, 2, 3])
        changed[10] ^= 4
        peer.feed(changed)
        peer.advance()
        var wire = peer.takeOutput()
        let error = #expect(throws: TLSError.self) { try engine.open(&wire) }
        expectError(error, .alert, ["'bad record mac' (20)"])
    }

    @Test(arguments: TLSBackend.allCases) func closeNotifyIsUnderstoodBothWays(backend: TLSBackend) throws {
        let (peer, engine) = try Self.connect(Kind(role: .client, backend: backend))
        SSL_shutdown(peer.ssl)
        var wire = peer.takeOutput()
        #expect(try engine.open(&wire) == ([], true))
        engine.close()
        peer.feed(engine.output())
        peer.advance()
        #expect(peer.ended)
    }
}
