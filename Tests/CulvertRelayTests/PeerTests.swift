import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertProtocol
@testable import CulvertRelay

/// Who gets a session, who does not, and what is said of it.
@Suite struct PeerTests {
    // MARK: Certificates

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
        Stranger(testDescription: "a's certificate expired", error: "alert 'certificate expired'", refused: "tls") {
            $0.credentialsOfA = try $0.pki.context("a") { $0.notAfter = Date().timeIntervalSince1970 - 60 }
        },
        Stranger(
            testDescription: "b does not know a's name",
            error: "none of your certificate's names (x) is the identity of a peer configured here", refused: "unknown-peer"
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
            var said: String?
            try await eventually("a says '\(stranger.error)'; it says '\(said ?? "nothing")'") {
                said = await lastError(pair.a, "b")
                return said?.contains(stranger.error) == true
            }
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

    private func lastError(_ relay: Relay, _ peer: String) async -> String? { await relay.status().peer(peer)?.lastError }

    // MARK: Strangers on the TLS port

    @Test func whatIsNoTLSIsRefused() async throws {
        try await withOther { pair, other, port in
            let openings = [
                Array("GET / HTTP/1.1\r\nHost: b\r\n\r\n".utf8),
                [0xFF] + (0..<500).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 5) },
                [22, 3, 1, 0, 200] + [UInt8](repeating: 0xAA, count: 200),
            ]
            for opening in openings {
                let before = await pair.b.status().refused["tls"] ?? 0
                let stranger = try await onThread {
                    let stranger = try PlainSocket.connect(port)
                    try stranger.write(opening)
                    _ = stranger.readUntilOver()
                    return stranger
                }
                try await eventually("it is counted") { await pair.b.status().refused["tls"] == before + 1 }
                stranger.close()
            }
            try PlainSocket.connect(port).close()
            try await eventually("it is counted") { await pair.b.status().refused["closed"] == 1 }
            try await other.exchange("meanwhile")
        }
    }

    @Test func whoSaysNothingIsRefusedInTime() async throws {
        try await withOther { $0.b.limits.handshakeTimeout = .seconds(2) } run: { pair, other, port in
            let silent = try await onThread { try PlainSocket.connect(port) }
            #expect(try await readUntilOver(silent) == [])
            try await eventually("it is counted") { await pair.b.status().refused["timeout"] == 1 }
        }
    }

    /// A pair with a stream that nothing may touch, and the address of `b`.
    private func withOther(
        _ prepare: (inout PairSetup) throws -> Void = { _ in },
        run body: (RelayPair, Bystander, Endpoint) async throws -> Void
    ) async throws {
        let echo = try Target.echo()
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            try prepare(&setup)
        } run: { pair in
            let other = try await Bystander(pair.connect("echo"))
            try await body(pair, other, Endpoint(hostAndPort: await pair.b.status().listen[0]))
            try await other.finish()
            try await pair.settle()
        }
    }

    // MARK: Starting

    @Test func aPortInUseIsNamedAndNothingStaysOpen() async throws {
        let owner = try PlainSocket.listen(PlainSocket.anyPort)
        var setup = try PairSetup()
        setup.route("echo", to: nil)
        setup.a.listen = [owner.endpoint]
        let relay = try makeRelay(setup.a, setup.credentialsOfA)
        do {
            try await relay.start()
            Issue.record("started on a port in use")
        } catch {
            #expect(error.description == "listen on \(owner.endpoint): Address already in use")
        }
        #expect(try await connectError(setup.directory.socket("a-echo")) == ENOENT)
        await relay.stop()
    }

    @Test func aForwardThatFailsClosesThePort() async throws {
        var setup = try PairSetup()
        let port = try unusedEndpoint()
        setup.a.listen = [port]
        setup.route("echo", to: nil)
        setup.route("taken", to: nil)
        let owner = try PlainSocket.listen(setup.directory.socket("a-taken"))
        let relay = try makeRelay(setup.a, setup.credentialsOfA)
        do {
            try await relay.start()
            Issue.record("started with the address of a live socket")
        } catch {
            #expect(error.description.contains("b/taken") && error.description.contains(setup.directory["a-taken"]))
        }
        #expect(try await connectError(port) == ECONNREFUSED)
        #expect(try await connectError(setup.directory.socket("a-echo")) == ENOENT)
        owner.close()
        await relay.stop()
    }

    /// An address where nobody listens any more.
    private func unusedEndpoint() throws -> Endpoint {
        let listener = try PlainSocket.listen(PlainSocket.anyPort)
        return listener.endpoint
    }

    // MARK: Peers that break the protocol

    struct Fault: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var bytes: [UInt8]
        var saysHello = true
    }

    private static func hello(_ edit: (inout Hello) -> Void = { _ in }) -> [UInt8] {
        var hello = Hello(session: .random(), initialCredit: 1 << 20, maximumStreams: 16, name: "c")
        edit(&hello)
        var encoder = FrameEncoder()
        return Array(encoder.hello(hello))
    }

    private static var faults: [Fault] {
        var encoder = FrameEncoder()
        let ping = Array(encoder.ping(.ping, 1)), ack = Array(encoder.ack(Ack(stream: 7, received: 0, credit: 1)))
        let open = Array(encoder.open(Open(stream: 8, credit: 9, priority: .auto, service: "echo"), first: .init(start: nil, count: 0), fin: false))
        var magic = hello()
        magic[FrameHeader.size] ^= 1
        var reserved = ping
        reserved[2] = 1
        return [
            Fault(testDescription: "unknown frame type 71", bytes: Array("GET / HTTP/1.1\r\n\r\n".utf8), saysHello: false),
            Fault(testDescription: "unknown frame type 153", bytes: [0x99] + [UInt8](repeating: 0, count: 15)),
            Fault(testDescription: "before HELLO", bytes: ping, saysHello: false),
            Fault(testDescription: "wrong magic", bytes: magic, saysHello: false),
            Fault(testDescription: "a second HELLO", bytes: hello()),
            Fault(testDescription: "reserved bits set in a frame header", bytes: reserved),
            Fault(testDescription: "for stream 7, which was never opened", bytes: ack),
            Fault(testDescription: "opens stream 8, the next one is", bytes: open),
            Fault(
                testDescription: "speaks versions 9 to 9, this relay 1",
                bytes: hello {
                    $0.version = 9
                    $0.minimumVersion = 9
                }, saysHello: false),
        ]
    }

    /// Lets `c` dial `b` with a good certificate.
    private func withHandmade(
        _ prepare: (inout PairSetup) throws -> Void = { _ in },
        run body: (RelayPair, Endpoint, TLSContext) async throws -> Void
    ) async throws {
        try await withOther { setup in
            setup.b.peers.append(PeerSettings(name: "c", addresses: []))
            try prepare(&setup)
        } run: { pair, other, port in
            try await body(pair, port, pair.pki.context("c"))
            #expect(await lastError(pair.b, "a") == nil)
            #expect(await pair.b.status().refused == [:])
        }
    }

    @Test(arguments: faults)
    func whoBreaksTheProtocolIsToldAndLosesTheSession(fault: Fault) async throws {
        try await withHandmade { pair, port, credentials in
            let heard = try await onThread {
                let peer = try HandmadePeer(dialling: port, credentials)
                if fault.saysHello { try peer.say(Self.hello()) }
                try peer.say(fault.bytes)
                return try peer.hearToEnd()
            }
            #expect(String(decoding: heard, as: UTF8.self).contains(fault.testDescription))
            try await eventually("b has no session with c") { await pair.b.status().peer("c")?.sessions == [] }
            let error = try #require(await lastError(pair.b, "c"))
            #expect(error.hasPrefix("c broke the protocol: ") && error.contains(fault.testDescription))
        }
    }

    @Test func whoDoesNotSayHelloLosesTheSession() async throws {
        try await withHandmade { $0.b.limits.handshakeTimeout = .seconds(2) } run: { pair, port, credentials in
            _ = try await onThread { try HandmadePeer(dialling: port, credentials).hearToEnd() }
            try await eventually("b has no session with c") { await pair.b.status().peer("c")?.sessions == [] }
            #expect(await lastError(pair.b, "c") == "c did not say HELLO in time")
        }
    }

    // MARK: Dialling

    @Test func aPeerThatComesUpLaterIsReached() async throws {
        let echo = try Target.echo()
        var setup = try PairSetup()
        let port = try unusedEndpoint()
        setup.route("echo", to: echo.endpoint)
        setup.a.peers[0].addresses = [port]
        setup.b.listen = [port]
        try await withRelay(setup.a, setup.credentialsOfA) { a in
            try await eventually("a has tried") {
                await lastError(a, "b") == "connect to \(port): Connection refused"
            }
            try await withRelay(setup.b, setup.credentialsOfB) { b in
                try await eventually("a is connected") { await a.status().peer("b")?.isConnected == true }
                #expect(await lastError(a, "b") == nil)
                let near = setup.a.forwards[0].listen
                try await Bystander(onThread { try PlainSocket.connect(near) }).finish()
            }
        }
    }

    /// The first address accepts and says nothing until the client waits.
    @Test func aClientThatWaitsIsServedByTheNextAddress() async throws {
        let echo = try Target.echo()
        var setup = try PairSetup()
        setup.route("echo", to: echo.endpoint)
        setup.a.limits.handshakeTimeout = .seconds(60)
        let mute = try PlainSocket.listen(PlainSocket.anyPort)
        try await withRelay(setup.b, setup.credentialsOfB) { b in
            setup.a.peers[0].addresses = [mute.endpoint, try Endpoint(hostAndPort: await b.status().listen[0])]
            try await withRelay(setup.a, setup.credentialsOfA) { a in
                let held = try await onThread { try mute.accept() }
                let near = setup.a.forwards[0].listen
                let client = try await onThread {
                    let client = try PlainSocket.connect(near)
                    try client.write("early")
                    return client
                }
                try await eventually("the client waits") { await a.status().forward("echo")?.active == 1 }
                #expect(await a.status().peer("b")?.sessions == [])
                held.close()
                #expect(try await onThread { try client.read(exactly: 5) } == Array("early".utf8))
                try await Bystander(client).finish()
            }
        }
    }

    /// `b` gets through while the connection that `a` makes is held at a gate; then `a` has no more use for its own.
    @Test func whenBothDialOneSessionIsEnough() async throws {
        let echo = try Target.echo(), onward = Collected<Endpoint>()
        let gate = try Target { connection in
            while onward.all.isEmpty { usleep(5000) }
            try join(connection, PlainSocket.connect(onward.all[0]))
        }
        var setup = try PairSetup()
        setup.route("echo", to: echo.endpoint, from: .b)
        setup.a.listen = [PlainSocket.anyPort]
        setup.a.peers[0].addresses = [gate.endpoint]
        setup.a.limits.handshakeTimeout = .seconds(60)
        try await withRelay(setup.a, setup.credentialsOfA) { a in
            try await eventually("a dials") { gate.accepted > 0 }
            setup.b.peers[0].addresses = [try Endpoint(hostAndPort: await a.status().listen[0])]
            try await withRelay(setup.b, setup.credentialsOfB) { b in
                let near = setup.b.forwards[0].listen
                let first = try await Bystander(onThread { try PlainSocket.connect(near) })
                onward.add(try Endpoint(hostAndPort: await b.status().listen[0]))
                try await eventually("b sees the other dial end") { await b.status().refused["closed"] == 1 }
                #expect(await a.status().peer("b")?.sessions.map(\.dialled) == [false])
                #expect(await b.status().peer("a")?.sessions.map(\.dialled) == [true])
                try await first.exchange("still here")
                try await first.finish()
            }
        }
    }
}

/// Passes bytes both ways until either end is over.
private func join(_ one: PlainSocket, _ other: PlainSocket) throws {
    let pass: @Sendable (PlainSocket, PlainSocket) -> Void = { source, sink in
        while let piece = try? source.read(), !piece.isEmpty, (try? sink.write(piece)) != nil {}
        source.stop()
        sink.stop()
    }
    Thread.detachNewThread { pass(other, one) }
    pass(one, other)
}
