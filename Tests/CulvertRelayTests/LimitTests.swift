import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// Limits of the relay that no other test meets, each met by one who goes one further.
@Suite(.fewAtOnce) struct LimitTests {
    // MARK: What a peer can make the relay keep

    @Test func aNinthSessionIsRefused() async throws {
        try await withHandMadePeers { pair, journal, dial in
            let refusal = try await onThread {
                var peers: [HandMadePeer] = []
                for number in UInt8(0)..<9 {
                    let peer = try dial()
                    try peer.send(.hello(session: [UInt8](repeating: number, count: 16)))
                    // Older ones are told that another is used, and stay: this peer does not answer.
                    if number < 8 { _ = try peer.receive(Frame.Kind.hello) }
                    peers.append(peer)
                }
                return withExtendedLifetime(peers) { peers[8].receiveAll().compactMap(\.goaway).first }
            }
            #expect(refusal?.code == 1 && refusal?.text.contains("more than 8 sessions") == true)
            try await journal.expect("h was shown out: more than 8 sessions", by: "b")
        }
    }

    /// Whoever has been silent longest makes room.
    @Test func connectionsWithoutHelloAreBounded() async throws {
        try await withHandMadePeers({ $0.b.limits.handshakeTimeout = .seconds(300) }) { pair, journal, dial in
            try await onThread {
                let peers = try (0..<33).map { _ in try dial() }
                try withExtendedLifetime(peers) {
                    #expect(peers[0].receiveAll() == [])
                    for number in [1, 32] {
                        try peers[number].send(.hello(session: [UInt8](repeating: UInt8(number), count: 16)))
                        _ = try peers[number].receive(Frame.Kind.hello)
                    }
                }
            }
        }
    }

    @Test func lanesOfASessionAreBounded() async throws {
        try await withHandMadePeers { pair, journal, dial in
            let held = try await onThread {
                let peers = try (UInt32(0)...32).map { lane in
                    let peer = try dial()
                    try peer.send(.hello(lane: lane))
                    _ = try peer.receive(Frame.Kind.hello)
                    return peer
                }
                return Transferred(peers)
            }
            try await journal.expect("lane 0 lost: newer lanes took its place", by: "b")
            let session = try #require(await pair.b.status().peer("h")?.sessions.first)
            #expect(session.lanes.count == 32 && session.lanesLost == 1)
            _ = held.take()
        }
    }

    /// Each stream may hold more, all together may not: those of a session, and those of all sessions.
    @Test(arguments: [\RelayLimits.sessionMemory, \RelayLimits.relayMemory] as [WritableKeyPath<RelayLimits, Int> & Sendable])
    func aFullBudgetHoldsStreamsUpAndStopsNone(limit: WritableKeyPath<RelayLimits, Int> & Sendable) async throws {
        let budget = 2 << 20, size = 4 << 20, count = 12
        let release = DispatchSemaphore(value: 0)
        let slow = try Target { connection in
            release.wait()
            let heard = try connection.readToEnd().count
            try connection.write(Array("\(heard)".utf8))
            connection.finishWriting()
        }
        let echo = try Target.echo()
        try await withPair { setup in
            setup.route("slow", to: slow.endpoint)
            setup.route("echo", to: echo.endpoint)
            setup.limit { $0[keyPath: limit] = budget }
        } run: { pair in
            var clients: [PlainSocket] = []
            for _ in 0..<count { clients.append(try await pair.connect("slow")) }
            let writing = clients.map { client in
                Task {
                    try await onThread {
                        try client.write([UInt8](repeating: 5, count: size))
                        client.finishWriting()
                    }
                }
            }
            var most = 0
            try await eventually("all have stopped") {
                let (a, b) = await (pair.a.status(), pair.b.status())
                most = max(most, a.memory, b.memory)
                return b.streams.count == count && b.streams.allSatisfy { $0.receiveWindow == 0 && $0.undelivered > 0 }
            }
            let held = await pair.b.status().streams.map(\.undelivered)
            // Beyond what is guaranteed to each, they share the budget.
            let shared = held.reduce(0) { $0 + max(0, $1 - (64 << 10)) }
            #expect((1...budget).contains(shared), "\(held)")
            try await Bystander(pair.connect("echo")).finish()
            most = await max(most, pair.a.status().memory, pair.b.status().memory)
            #expect(most <= budget)
            for _ in clients { release.signal() }
            for task in writing { try await task.value }
            for client in clients {
                #expect(try await onThread { try client.readToEnd() } == Array("\(size)".utf8))
            }
            try await pair.settle()
        }
    }

    // MARK: What local programs can make it keep

    @Test func connectionsThatWaitForASessionAreBounded() async throws {
        let silent = try PlainSocket.listen(PlainSocket.anyPort)
        try await withPair { setup in
            setup.route("echo", to: nil)
            setup.a.peers[0].addresses = [silent.endpoint]
            setup.a.limits.handshakeTimeout = .seconds(300)
        } run: { pair in
            let near = pair.endpoint("echo")
            let clients = try await onThread { try (0..<1025).map { _ in try PlainSocket.connect(near) } }
            #expect(try await readUntilOver(clients[1024]) == [])
            let refused = try await pair.a.outcome("echo").reset
            #expect(refused?.code == "refused" && refused?.text == "1024 connections wait for a session with b")
            #expect(await pair.a.status().forward("echo")?.ended.count == 1)
        }
    }

    @Test func aServiceLongerThanAnOpenTakesIsRefused() async throws {
        try await withPair { pair in
            for length in [255, 256] {
                let settings = ForwardSettings(
                    listen: PlainSocket.anyPort, to: ServiceReference(peer: "b", service: String(repeating: "s", count: length)))
                do {
                    _ = try await pair.a.addForward(settings)
                    #expect(length == 255)
                } catch let error as RelayError {
                    #expect(length == 256 && error.description.contains("at most 255 bytes"))
                }
            }
        }
    }

    // MARK: How long it waits

    /// Its host is there and refuses: the relay was stopped, and would not know the session either.
    @Test func streamsDoNotWaitForARelayThatIsGone() async throws {
        let link = try Link()
        defer { link.close() }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.limit { $0.sessionTimeout = .seconds(30) }
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            let client = try await pair.connect("echo")
            try await Bystander(client).exchange("then nothing")
            link.close()
            #expect(try await readUntilOver(client) == [])
            let reset = try #require(try await pair.a.outcome("echo").reset)
            #expect(reset.code == "session-lost" && reset.text.contains("b's relay is gone"), "\(reset.text)")
        }
    }

    @Test func anAddressThatDoesNotAnswerGetsItsTimeAndNoMore() async throws {
        try await withSilentAddress { silent in
            try await withEchoPair { setup in
                setup.a.limits.connectTimeout = .seconds(1)
                setup.a.peers[0].addresses = [silent]
            } run: { pair in
                try await pair.a.expectError("no answer within 1.0 seconds", of: "b")
                try await pair.dial([silent, pair.port(of: .b)])
                try await Bystander(pair.connect("echo")).finish()
            }
        }
    }

    /// A stream that waits for a session does not hear of addresses that a reload has taken away.
    @Test func whoWaitsIsServedByTheNewAddresses() async throws {
        try await withWaitingClient { pair, client in
            try await pair.dial([pair.port(of: .b)])
            try await Bystander(client).finish()
        }
    }

    @Test func nobodyWaitsForAPeerThatIsDialledNoMore() async throws {
        try await withWaitingClient { pair, client in
            try await pair.dial([])
            #expect(try await readUntilOver(client) == [])
            #expect(try await pair.a.outcome("echo").reset?.text.contains("it has to dial us") == true)
        }
    }

    /// A pair whose `a` dials an address that does not answer, and a client that waits for it.
    private func withWaitingClient(_ body: (RelayPair, PlainSocket) async throws -> Void) async throws {
        try await withSilentAddress { silent in
            try await withEchoPair { setup in
                setup.a.limits.connectTimeout = .seconds(300)
                setup.a.peers[0].addresses = [silent]
            } run: { pair in
                let client = try await pair.connect("echo")
                try await eventually("the client waits") { await pair.a.status().forward("echo")?.active == 1 }
                try await body(pair, client)
            }
        }
    }

    /// An address of which nothing is ever heard: a queue of one that is full, so that the kernel drops what else asks.
    private func withSilentAddress(_ body: (Endpoint) async throws -> Void) async throws {
        let full = try PlainSocket.listen(PlainSocket.anyPort, backlog: 0)
        let filler = try PlainSocket.connect(full.endpoint)
        defer { filler.close() }
        try await body(full.endpoint)
    }

    // MARK: Scene

    /// A pair, what `b` logs, and a way to dial `b` as its peer `h`.
    private func withHandMadePeers(
        _ prepare: (inout PairSetup) -> Void = { _ in },
        run body: (RelayPair, Journal, _ dial: @escaping @Sendable () throws -> HandMadePeer) async throws -> Void
    ) async throws {
        let journal = Journal()
        try await withEchoPair { setup in
            setup.journal = journal
            setup.b.peers.append(PeerSettings(name: "h", addresses: []))
            prepare(&setup)
        } run: { pair in
            let bystander = try await Bystander(pair.connect("echo"))
            let port = try await pair.port(of: .b), context = try pair.pki.context("h")
            try await body(pair, journal) { try HandMadePeer.dial(port, context) }
            try await bystander.finish()
        }
    }
}
