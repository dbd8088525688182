import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// The connections between two relays are lost; the programs behind them see sockets that pause.
@Suite(.fewAtOnce) struct ResumeTests {
    /// A pair whose relay `a` dials through the links.
    private func withLinks(
        _ count: Int = 1, lanes: Int = 1, _ prepare: (inout PairSetup) -> Void = { _ in },
        run body: (RelayPair, [Link]) async throws -> Void
    ) async throws {
        let links = try (0..<count).map { _ in try Link() }
        defer { links.forEach { $0.close() } }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = links.map(\.endpoint)
            setup.a.peers[0].lanes = lanes
            prepare(&setup)
        } run: { pair in
            for link in links { link.lead(to: try await pair.port(of: .b)) }
            try await eventually("all lanes are there") {
                await pair.a.status().peers[0].sessions.first?.lanes.filter { $0.rtt != nil }.count == lanes
            }
            try await body(pair, links)
        }
    }

    @Test func aStreamSurvivesConnectionsThatBreak() async throws {
        try await withLinks { pair, links in
            let target = try await pair.port(of: .b), client = try await pair.connect("echo")
            async let exchange: Void = exchange(client, scaled(60) << 20)
            for round in 1...10 {
                let passed = links[0].passed
                try await eventually("bytes flow in round \(round)") {
                    let isOver = await pair.a.status().streams.isEmpty
                    return isOver || links[0].passed > passed + (1 << 20)
                }
                links[0].cut()
                links[0].lead(to: target)
            }
            try await exchange
            let (a, b) = await (pair.a.status().peers[0], pair.b.status().peers[0])
            #expect(a.sessions.count == 1 && a.sessions[0].lanesLost >= 1)
            #expect(a.streamsReset == 0 && b.streamsReset == 0)
            try await pair.settle()
        }
    }

    /// The kernel may have no room to watch one more descriptor; a while later it has.
    @Test func aConnectionThatCannotBeUsedIsNotTheLast() async throws {
        try await withLinks { pair, links in
            let live = try await Bystander(pair.connect("echo"))
            links[0].cut()
            try await eventually("the lane is lost") { await pair.a.status().peers[0].sessions.first?.lanes.isEmpty == true }
            let entry = try #require(pair.a.peers["b"]), credentials = pair.setup.credentialsOfA
            let engine = try Transferred(credentials.makeEngine(.client, with: "b"))
            _ = await entry.loop.run {
                let peer = entry.peer.value, dialler = peer.diallers[0]
                dialler.stop()
                // Epoll watches no such device.
                let descriptor = Descriptor(adopting: open("/dev/null", O_RDWR | O_CLOEXEC))
                peer.adopt(SecuredConnection(descriptor: descriptor, engine: engine.take(), leftover: []), by: dialler)
            }
            links[0].lead(to: try await pair.port(of: .b))
            try await live.exchange("goes on")
            try await live.finish()
        }
    }

    /// Nothing is reset, packets just vanish: the keepalive finds out, on both sides, and a new connection takes over.
    @Test func aStreamSurvivesSilence() async throws {
        try await withLinks(2) { setup in
            setup.limit { $0.keepalive = .seconds(10) }
        } run: { pair, links in
            let client = try await pair.connect("echo")
            try client.write("before")
            #expect(try await onThread { try client.read(exactly: 6) } == Array("before".utf8))
            links[0].freeze()
            try client.write("after")
            #expect(try await onThread { try client.read(exactly: 5) } == Array("after".utf8))
            try await Bystander(client).finish()
            #expect(await pair.b.status().peers[0].sessions.map(\.lanesLost) == [1])
        }
    }

    @Test func oneStreamUsesSeveralLanesAndOutlivesEach() async throws {
        try await withLinks(3, lanes: 3) { pair, links in
            let target = try await pair.port(of: .b), client = try await pair.connect("echo")
            async let exchange: Void = exchange(client, scaled(90) << 20)
            for link in links {
                let passed = link.passed
                try await eventually("bytes flow on this lane too") {
                    let isOver = await pair.a.status().streams.isEmpty
                    return isOver || link.passed > passed + (1 << 20)
                }
                link.cut()
                link.lead(to: target)
            }
            try await exchange
            try await eventually("all lanes are back") { await pair.a.status().peers[0].sessions.first?.lanes.count == 3 }
            try await pair.settle()
        }
    }

    @Test func lanesOfOneSessionUseAllLoops() async throws {
        try await withLinks(lanes: 4) { setup in
            setup.a.loops = 3
            setup.b.loops = 2
        } run: { pair, _ in
            var client = LongExchange(try await pair.connect("echo"))
            for (side, loops) in [(Side.a, 3), (.b, 2)] {
                let lanes = await pair[side].status().peers[0].sessions[0].lanes
                let perLoop = Dictionary(grouping: lanes, by: \.loop)
                #expect(perLoop.count == loops && perLoop.values.allSatisfy { $0.count <= 2 }, "\(side): \(lanes)")
                // The session's own loop has the local sockets to look after, and takes what the others leave.
                let own = lanes.first { $0.number == 0 }?.loop
                for loop in perLoop.keys where loop != own {
                    try await client.move(until: "\(loop) of \(side) carries its share") {
                        let lanes = await pair[side].status().peers[0].sessions[0].lanes.filter { $0.loop == loop }
                        return lanes.reduce(0) { $0 + $1.bytesSent } > scaled(1 << 20)
                    }
                }
            }
            try await client.finish()
            try await pair.settle()
        }
    }

    @Test func lanesAreAddedAndRemovedByAReload() async throws {
        try await withLinks(2, lanes: 1) { pair, _ in
            let client = try await Bystander(pair.connect("echo"))
            for count in [4, 2, 1, 3] {
                var settings = pair.setup.a
                settings.peers[0].lanes = count
                try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
                try await eventually("\(count) lanes at both ends") {
                    let sessions = await (pair.a.status().peers[0].sessions, pair.b.status().peers[0].sessions)
                    return sessions.0.map(\.lanes.count) == [count] && sessions.1.map(\.lanes.count) == [count]
                }
                try await client.exchange("with \(count) lanes")
            }
            try await client.finish()
        }
    }

    /// It is not to be dialled any more; what was dialled before goes on.
    @Test func aReloadWithoutAddressesCutsNoStream() async throws {
        try await withLinks(1, lanes: 3) { pair, _ in
            let client = try await Bystander(pair.connect("echo"))
            var settings = pair.setup.a
            settings.peers[0].addresses = []
            try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
            try await eventually("one lane is left") { await pair.b.status().peers[0].sessions.map(\.lanes.count) == [1] }
            try await client.exchange("still there")
            try await client.finish()
            #expect(await pair.a.status().peers[0].sessions.map(\.lanesLost) == [2])
        }
    }

    /// New connections wait for the link too.
    @Test func aConnectionThatComesWhileTheLinkIsDownWaits() async throws {
        try await withLinks { pair, links in
            let target = try await pair.port(of: .b)
            try await Bystander(pair.connect("echo")).finish()
            links[0].cut()
            try await eventually("a knows") { await pair.a.status().peers[0].sessions.first?.lanes.isEmpty == true }
            let client = try await pair.connect("echo")
            try client.write("early")
            links[0].lead(to: target)
            #expect(try await onThread { try client.read(exactly: 5) } == Array("early".utf8))
            try await Bystander(client).finish()
        }
    }

    // MARK: Ends

    @Test func afterTheSetTimeTheStreamsAreReset() async throws {
        try await withLinks { setup in
            setup.limit { $0.sessionTimeout = .seconds(1) }
        } run: { pair, links in
            let client = try await pair.connect("echo")
            try await Bystander(client).exchange("then nothing")
            links[0].cut()
            #expect(try await readUntilOver(client) == [])
            let reset = try #require(try await pair.a.outcome("echo").reset)
            #expect(reset.code == "session-lost" && reset.text.contains("no other could be made within 1.0 seconds"))
            try await eventually("b gives up too") { await pair.b.status().peers[0].sessions.isEmpty }
        }
    }

    /// A relay that restarted knows no session; nobody waits for the set time.
    @Test func aRestartedPeerEndsTheStreamsAtOnce() async throws {
        let echo = try Target.echo(), port = try PlainSocket.reservePort()
        var setup = try PairSetup()
        setup.route("echo", to: echo.endpoint)
        setup.a.peers[0].addresses = [port.endpoint]
        setup.b.listen = [port.endpoint]
        setup.limit { $0.sessionTimeout = .seconds(3000) }
        try await withRelay(setup.a, setup.credentialsOfA) { a in
            let near = setup.a.forwards[0].listen
            let link = try Link()
            defer { link.close() }
            var settings = setup.a
            settings.peers[0].addresses = [link.endpoint]
            try await a.apply(settings: settings, tls: setup.credentialsOfA)
            var client: PlainSocket?
            try await withRelay(setup.b, setup.credentialsOfB) { b in
                link.lead(to: try await b.port())
                client = try await onThread { try PlainSocket.connect(near) }
                try await Bystander(client!).exchange("and gone")
                // So that b's farewell does not get through.
                link.cut()
            }
            try await withRelay(setup.b, setup.credentialsOfB) { b in
                link.lead(to: try await b.port())
                let stale = client!
                #expect(try await readUntilOver(stale) == [])
                let reset = try #require(try await a.outcome("echo").reset)
                #expect(reset.text.contains("b knows no session"))
            }
        }
    }

    // MARK: Who may join

    /// Who has a good certificate and knows a session's id still needs its secret; and the certificate of its peer.
    @Test func aSessionIsJoinedByItsPeerWithItsSecretOnly() async throws {
        let echo = try Target.echo(), journal = Journal()
        try await withPair { setup in
            setup.journal = journal
            setup.route("echo", to: echo.endpoint)
            setup.b.services[0].allow.append("h")
            setup.b.peers.append(PeerSettings(name: "h", addresses: []))
        } run: { pair in
            let bystander = try await Bystander(pair.connect("echo"))
            let port = try await pair.port(of: .b)
            let (h, a) = (try pair.pki.context("h"), pair.setup.credentialsOfA)
            let id = try #require(await pair.b.status().peer("a")?.sessions.first?.id)
            let session = stride(from: 0, to: 32, by: 2).map { UInt8(id.dropFirst($0).prefix(2), radix: 16)! }
            for (credentials, name, reason) in [(h, "h", "knows no session"), (a, "a", "wrong secret")] {
                let goaway = try await onThread {
                    let peer = try HandMadePeer.dial(port, credentials)
                    try peer.send(.hello(session: session, lane: 1))
                    return peer.receiveAll().compactMap(\.goaway).first
                }
                #expect(goaway?.code == 5 && goaway?.text.contains(reason) == true)
                try await pair.b.expectError(reason, of: name)
                #expect(journal.entries.contains {
                    $0.relay == "b" && $0.level == .warning && $0.metadata["peer"] == "\(name)" && $0.message.contains(reason)
                })
            }
            try await bystander.finish()
            #expect(await pair.b.status().peer("a")?.sessions.map(\.lanesLost) == [0])
        }
    }
}
