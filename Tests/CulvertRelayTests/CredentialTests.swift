import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// Who is not the configured peer gets nowhere, and both operators can read why.
@Suite struct CredentialTests {
    /// What `a`, which dials, is told.
    private func error(_ prepare: (inout PairSetup) throws -> Void, at b: (RelayStatus) -> Void) async throws -> String {
        let echo = try Target.echo()
        var result = ""
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            try prepare(&setup)
        } run: { pair in
            // A client does not have to wait for the peer to become another.
            let client = try await pair.connect("echo")
            let heard = try await onThread { client.readUntilOver().bytes }
            #expect(heard.isEmpty)
            result = try await eventually("a has an error") { await pair.a.status().peer("b")?.lastError }
            #expect(try await pair.a.outcome("echo").reset?.text.contains("no session with b") == true)
            b(await pair.b.status())
            #expect(echo.accepted == 0)
        }
        return result
    }

    @Test func aCertificateOfAnotherCAIsRefusedByWhoIsDialled() async throws {
        let error = try await error { setup in
            let other = try TestPKI(setup.directory, name: "other-ca")
            setup.credentialsOfA = try other.context("a", trusting: setup.pki)
        } at: { b in
            #expect(b.refused["tls"] ?? 0 >= 1)
        }
        #expect(error.contains("refused with the alert 'unknown CA'"), "\(error)")
        #expect(error.contains("other-ca"), "\(error)")
    }

    @Test func aCertificateOfAnotherCAIsRefusedByWhoDials() async throws {
        let error = try await error { setup in
            let other = try TestPKI(setup.directory, name: "other-ca")
            setup.credentialsOfB = try other.context("b", trusting: setup.pki)
        } at: { b in
            #expect(b.refused["tls"] ?? 0 >= 1)
        }
        #expect(error.contains("the peer's certificate"), "\(error)")
        #expect(error.contains("other-ca"), "\(error)")
    }

    @Test(arguments: [("a", false), ("a", true), ("b", false), ("b", true)])
    func aCertificateOutsideItsTimeIsRefused(of relay: String, isFuture: Bool) async throws {
        let error = try await error { setup in
            let day = 86_400.0, shift = isFuture ? 5 * day : -30 * day
            let credentials = try setup.pki.context(relay) {
                $0.notBefore += shift
                $0.notAfter += shift
            }
            if relay == "a" { setup.credentialsOfA = credentials } else { setup.credentialsOfB = credentials }
        } at: { b in
            #expect(b.refused["tls"] ?? 0 >= 1)
        }
        // The alert that says too early is also the one that says nothing.
        #expect(error.contains(isFuture ? "valid" : "expired"), "\(error)")
    }

    @Test func aNameThatIsNoPeersIsToldSo() async throws {
        let error = try await error { setup in
            setup.credentialsOfA = try setup.pki.context("stranger")
        } at: { b in
            #expect(b.refused["unknown-peer"] ?? 0 >= 1)
            #expect(b.peer("a")?.sessions.isEmpty == true)
        }
        #expect(error.contains("stranger"), "\(error)")
        #expect(error.contains("identity of a peer configured here"), "\(error)")
    }

    @Test func anAddressThatLeadsToAnotherHostIsNoticed() async throws {
        let error = try await error { setup in
            setup.credentialsOfB = try setup.pki.context("other")
        } at: { b in
            #expect(b.peer("a")?.sessions.isEmpty == true)
        }
        #expect(error.contains("names other, not 'b'"), "\(error)")
        #expect(error.contains("peers.b.identity"), "\(error)")
    }

    @Test func anIdentityMayBeAnyOfTheCertificatesNames() async throws {
        let echo = try Target.echo()
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            setup.credentialsOfB = try setup.pki.context("b") { $0.dnsNames = ["b.example.org", "Relay-B.example.org"] }
            setup.a.peers[0].identity = "relay-b.EXAMPLE.org"
        } run: { pair in
            let client = try await pair.connect("echo")
            let answer = try await onThread {
                try client.write("hello")
                return try client.read(exactly: 5)
            }
            #expect(answer == Array("hello".utf8))
        }
    }
}
