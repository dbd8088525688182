import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// Whoever comes to the TLS port without a certificate costs little, for a short time, and nobody else anything.
@Suite(.fewAtOnce) struct IntruderTests {
    /// Says `bytes` to the TLS port and waits for its end.
    private func say(_ bytes: [UInt8], to relay: Relay) async throws {
        let port = try await relay.port()
        try await onThread {
            let intruder = try PlainSocket.connect(port)
            try? intruder.write(bytes)
            _ = intruder.readUntilOver()
        }
    }

    private func expectRefusal(_ reason: String, by relay: Relay, count: UInt64 = 1) async throws {
        try await eventually("\(count) were refused for \(reason)") { await relay.status().refused[reason] ?? 0 >= count }
        #expect(await relay.status().refused == [reason: count])
    }

    @Test(arguments: [
        Array("GET / HTTP/1.1\r\nHost: culvert\r\n\r\n".utf8), Array("SSH-2.0-OpenSSH_9.2\r\n".utf8),
        [UInt8](repeating: 0, count: 100_000), [0x16, 3, 1, 0xFF, 0xFF] + [UInt8](repeating: 0x55, count: 100_000),
        [0x16, 3, 1, 0, 4, 1, 0xFF, 0xFF, 0xFF],
    ])
    func whatIsNoTLSIsShownOut(_ bytes: [UInt8]) async throws {
        try await withPair { _ in } run: { pair in
            try await say(bytes, to: pair.b)
            try await expectRefusal("tls", by: pair.b)
        }
    }

    @Test func randomBytesAreShownOut() async throws {
        var random = Randomness(seed: 1)
        try await withPair { _ in } run: { pair in
            for _ in 0..<50 {
                // One that by chance looks like a record too long for its bytes would wait for more.
                var bytes = (0..<2000).map { _ in UInt8.random(in: .min ... .max, using: &random) }
                if bytes[0] == 22 { bytes[0] = 23 }
                try await say(bytes, to: pair.b)
            }
            try await expectRefusal("tls", by: pair.b, count: 50)
        }
    }

    @Test func aConnectionThatSaysNothingAndGoesIsNoError() async throws {
        try await withPair { _ in } run: { pair in
            let port = try await pair.port(of: .b)
            try await onThread { try PlainSocket.connect(port).close() }
            try await expectRefusal("closed", by: pair.b)
        }
    }

    @Test func aHandshakeThatCreepsIsEnded() async throws {
        var setup = try PairSetup()
        setup.b.limits.handshakeTimeout = .seconds(1)
        // Alone: a peer that dials might not be done within a second either.
        try await withRelay(setup.b, setup.credentialsOfB) { b in
            let port = try await b.port()
            // A record that is promised and comes byte by byte.
            try await onThread {
                let intruder = try PlainSocket.connect(port)
                try intruder.write([22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3])
                while (try? intruder.write([0])) != nil { Thread.sleep(forTimeInterval: 0.01) }
            }
            try await expectRefusal("timeout", by: b)
        }
    }

    /// One more than there may be: the oldest makes room, and the peer gets in although the others go on stalling.
    @Test func stalledHandshakesAreBoundedAndKeepNobodyOut() async throws {
        let echo = try Target.echo(), link = try Link()
        defer { link.close() }
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            setup.a.peers[0].addresses = [link.endpoint]
            setup.b.limits.unauthenticatedConnections = 5
            setup.b.limits.handshakeTimeout = .seconds(300)
        } run: { pair in
            let port = try await pair.port(of: .b)
            let stalled = try await onThread { try (0..<6).map { _ in try PlainSocket.connect(port) } }
            try await expectRefusal("crowded", by: pair.b)
            #expect(try await readUntilOver(stalled[0]) == [])
            link.lead(to: port)
            let client = try await eventually("a is let in") { () -> PlainSocket? in
                let client = try await pair.connect("echo")
                return try await onThread {
                    try? client.write("x")
                    return try? client.read(exactly: 1)
                }.map { _ in client }
            }
            #expect(await pair.b.status().refused["timeout"] == nil)
            _ = (client, stalled)
        }
    }
}
