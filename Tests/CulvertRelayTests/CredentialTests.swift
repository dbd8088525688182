import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// Who is not the configured peer gets nowhere, and both operators can read why.
@Suite(.fewAtOnce) struct CredentialTests {
    struct Stranger: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// Part of what `a` says of `b`.
        var error: String
        /// How `b` counts it; nil if `a` is the one that breaks off, of which `b` sees what the moment gives.
        var refused: String?
        var prepare: @Sendable (inout PairSetup) throws -> Void
    }

    private static let strangers = [
        Stranger(testDescription: "b is of a CA that a does not know", error: "the peer's certificate") {
            $0.credentialsOfB = try TestPKI($0.directory, name: "other").context("b", trusting: $0.pki)
        },
        Stranger(testDescription: "a is of a CA that b does not know", error: "alert 'unknown CA'", refused: "tls") {
            $0.credentialsOfA = try TestPKI($0.directory, name: "other").context("a", trusting: $0.pki)
        },
        Stranger(testDescription: "b's certificate expired", error: "the peer's certificate (CN=b) expired") {
            $0.credentialsOfB = try $0.pki.context("b") { $0.notAfter = Date().timeIntervalSince1970 - 60 }
        },
        Stranger(testDescription: "b's certificate is of the future", error: "the peer's certificate (CN=b)") {
            $0.credentialsOfB = try $0.pki.context("b") { $0.notBefore = Date().timeIntervalSince1970 + 3600 }
        },
        Stranger(testDescription: "a's certificate is of the future", error: "alert 'bad certificate'", refused: "tls") {
            $0.credentialsOfA = try $0.pki.context("a") { $0.notBefore = Date().timeIntervalSince1970 + 3600 }
        },
        Stranger(testDescription: "a's certificate expired", error: "alert 'certificate expired'", refused: "tls") {
            $0.credentialsOfA = try $0.pki.context("a") { $0.notAfter = Date().timeIntervalSince1970 - 60 }
        },
        Stranger(
            testDescription: "b does not know a's name",
            error: "none of the names you proved (x) is the identity of a peer configured here", refused: "unknown-peer"
        ) { $0.credentialsOfA = try $0.pki.context("x") },
        Stranger(testDescription: "b's certificate has another name", error: "its certificate names x, not 'b'") {
            $0.credentialsOfB = try $0.pki.context("x")
        },
    ]

    @Test(arguments: strangers)
    func aStrangerGetsNoSession(stranger: Stranger) async throws {
        let echo = try Target.echo()
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            try stranger.prepare(&setup)
        } run: { pair in
            try await pair.a.expectError(stranger.error, of: "b")
            if let reason = stranger.refused {
                #expect(try #require(await pair.b.status().refused[reason]) >= 1)
            }
            #expect(await pair.b.status().peer("a")?.streamsOpened == 0)
            let client = try await pair.connect("echo")
            #expect(try await readUntilOver(client) == [])
            let reset = try #require(try await pair.a.outcome("echo").reset)
            #expect(reset.code == "session-lost" && !reset.remote && reset.text.hasPrefix("no session with b: "))
            #expect(echo.accepted == 0)
        }
    }

    @Test func anIdentityMayBeAnyOfTheCertificatesNames() async throws {
        try await withEchoPair { setup in
            setup.credentialsOfB = try setup.pki.context("b") { $0.dnsNames = ["b.example.org", "Relay-B.example.org"] }
            setup.a.peers[0].identity = "relay-b.EXAMPLE.org"
        } run: { pair in
            try await Bystander(pair.connect("echo")).finish()
        }
    }
}
