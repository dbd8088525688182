import CulvertIO
import CulvertTLS
import Testing

@testable import CulvertRelay

/// Relays of either TLS library and kind of credentials with each other, over TCP.
@Suite(.fewAtOnce) struct BackendTests {
    struct Combination: Sendable, CustomTestStringConvertible {
        var a: TLSBackend
        var b: TLSBackend
        var testDescription: String { "\(a) dials \(b)" }
    }

    private static let combinations = TLSBackend.allCases.flatMap { a in
        TLSBackend.allCases.map { Combination(a: a, b: $0) }
    }
    private static let key = String(repeating: "a5", count: 32)
    private static let otherKey = String(repeating: "5a", count: 32)

    @Test(arguments: combinations) func certificatesWork(combination: Combination) async throws {
        try await withEchoPair { setup in
            setup.credentialsOfA = try setup.pki.context("a", backend: combination.a)
            setup.credentialsOfB = try setup.pki.context("b", backend: combination.b)
        } run: { pair in
            try await expectService(pair, combination, "TLS_AES_256_GCM_SHA384")
        }
    }

    @Test(arguments: combinations) func keysWork(combination: Combination) async throws {
        try await withEchoPair { setup in
            setup.credentialsOfA = try setup.pki.keys("a", sharedWith: ["b": Self.key], backend: combination.a)
            setup.credentialsOfB = try setup.pki.keys(
                "b", sharedWith: ["a": Self.key, "c": Self.otherKey], backend: combination.b)
        } run: { pair in
            try await expectService(pair, combination, "TLS_AES_128_GCM_SHA256")
        }
    }

    private func expectService(_ pair: RelayPair, _ combination: Combination, _ suite: String) async throws {
        let names: [TLSBackend: String] = [.openssl: "OpenSSL", .gnutls: "GnuTLS"]
        let client = try await Bystander(pair.connect("echo"))
        let lanes = await (pair.a.status().peer("b"), pair.b.status().peer("a"))
        // Whose ciphers the records have depends on the host.
        for (peer, backend) in [(lanes.0, combination.a), (lanes.1, combination.b)] {
            let tls = try #require(peer?.sessions.first?.lanes.first?.tls)
            #expect(tls.hasPrefix("\(names[backend]!) TLSv1.3 \(suite)"))
        }
        try await client.finish()
        try await pair.settle()
    }

    /// A peer with a key of its own does not become another by saying that other's name.
    @Test(arguments: combinations) func aKeyIsOnePeers(combination: Combination) async throws {
        try await withEchoPair { setup in
            setup.credentialsOfA = try setup.pki.keys("a", sharedWith: ["b": Self.otherKey], backend: combination.a)
            setup.credentialsOfB = try setup.pki.keys(
                "b", sharedWith: ["a": Self.key, "c": Self.otherKey], backend: combination.b)
        } run: { pair in
            try await pair.a.expectError("its key for 'a' is not the one that our file", of: "b")
            #expect(try #require(await pair.b.status().refused["tls"]) >= 1)
        }
    }

    @Test(arguments: combinations) func aPeerWithKeyThatIsNotConfiguredIsRefused(combination: Combination) async throws {
        try await withEchoPair { setup in
            setup.credentialsOfA = try setup.pki.keys("x", sharedWith: ["b": Self.key], backend: combination.a)
            setup.credentialsOfB = try setup.pki.keys("b", sharedWith: ["x": Self.key], backend: combination.b)
        } run: { pair in
            try await pair.a.expectError("none of the names you proved (x) is the identity of a peer", of: "b")
            #expect(try #require(await pair.b.status().refused["unknown-peer"]) >= 1)
        }
    }

    /// From one library to the other, and from certificates to keys, while a stream goes on.
    @Test func aReloadMayChangeLibraryAndKind() async throws {
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            let live = try await Bystander(pair.connect("echo"))
            let b = try pair.pki.keys("b", sharedWith: ["a": Self.key], backend: .gnutls)
            try await pair.b.apply(settings: setup.b, tls: b)
            let port = try await pair.port(of: .b)
            await #expect(throws: TLSError.self) {
                try await onThread { try HandMadePeer.dial(port, setup.credentialsOfA).close() }
            }
            let a = try pair.pki.keys("a", sharedWith: ["b": Self.key], backend: .openssl)
            try await pair.a.apply(settings: setup.a, tls: a)
            #expect(try await onThread { try HandMadePeer.dial(port, a).certificate.names } == ["b"])
            try await live.finish()
            try await pair.settle()
        }
    }
}
