import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// How relays find each other, lose each other and find each other again.
@Suite(.fewAtOnce) struct SessionTests {
    // MARK: Finding

    @Test func connectionsThatCameBeforeTheSessionAreServed() async throws {
        let link = try Link()
        defer { link.close() }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            // All of the time before the link leads somewhere is one of `a`'s handshakes.
            setup.a.limits.handshakeTimeout = .seconds(300)
        } run: { pair in
            var clients: [PlainSocket] = []
            for number in 0..<10 {
                let client = try await pair.connect("echo")
                try client.write("client \(number)")
                clients.append(client)
            }
            try await eventually("all wait") { await pair.a.status().forward("echo")?.active == 10 }
            #expect(await pair.streams().isEmpty)
            link.lead(to: try await pair.port(of: .b))
            for (number, client) in clients.enumerated() {
                let answer = try await onThread { try client.read(exactly: 8) }
                #expect(answer == Array("client \(number)".utf8))
            }
        }
    }

    @Test func whoeverHasToBeDialledByThePeerSaysSo() async throws {
        let echo = try Target.echo(), link = try Link()
        defer { link.close() }
        try await withPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.route("echo", to: echo.endpoint, from: .b)
        } run: { pair in
            #expect(try await readUntilOver(pair.connect("echo")) == [])
            let reset = try #require(try await pair.b.outcome("echo").reset)
            #expect(reset.code == "session-lost")
            #expect(reset.text.contains("peers.a.addresses is empty"))
        }
    }

    @Test func aPeerThatComesUpLaterIsReached() async throws {
        let echo = try Target.echo(), port = try PlainSocket.reservePort()
        var setup = try PairSetup()
        setup.route("echo", to: echo.endpoint)
        setup.a.peers[0].addresses = [port.endpoint]
        setup.b.listen = [port.endpoint]
        try await withRelay(setup.a, setup.credentialsOfA) { a in
            try await a.expectError("connect to \(port.endpoint): Connection refused", of: "b")
            let near = setup.a.forwards[0].listen
            let tooEarly = try await onThread { try PlainSocket.connect(near) }
            #expect(try await readUntilOver(tooEarly) == [])
            #expect(try await a.outcome("echo").reset?.text.contains("Connection refused") == true)
            try await withRelay(setup.b, setup.credentialsOfB) { b in
                try await eventually("a is connected") { await a.status().peer("b")?.isConnected == true }
                #expect(await a.lastError("b") == nil)
                try await Bystander(onThread { try PlainSocket.connect(near) }).finish()
            }
        }
    }

    /// The first address accepts and says nothing until the client waits.
    @Test func aClientThatWaitsIsServedByTheNextAddress() async throws {
        let mute = try PlainSocket.listen(PlainSocket.anyPort), link = try Link()
        defer { link.close() }
        try await withEchoPair { setup in
            setup.a.limits.handshakeTimeout = .seconds(60)
            setup.a.peers[0].addresses = [mute.endpoint, link.endpoint]
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            let held = try await onThread { try mute.accept() }
            let client = try await pair.connect("echo")
            try client.write("early")
            try await eventually("the client waits") { await pair.a.status().forward("echo")?.active == 1 }
            held.close()
            #expect(try await onThread { try client.read(exactly: 5) } == Array("early".utf8))
            try await Bystander(client).finish()
        }
    }

    // MARK: Both dial

    /// Of two sessions one stays, and no connection suffers from the other's end. Which of the two comes first is left to
    /// chance, many times.
    @Test func whenBothDialNoConnectionIsLost() async throws {
        try await withCrossedPair { pair, toA, toB in
            let nears = ["fromA", "fromB"].map(pair.endpoint)
            for _ in 0..<scaled(50) {
                // Connections wait at both relays when the sessions come about.
                async let answers = onThread {
                    let clients = try nears.flatMap { near in try (0..<4).map { _ in try PlainSocket.connect(near) } }
                    for client in clients { try client.write("hello") }
                    return try clients.map { try $0.read(exactly: 5) }
                }
                toB.lead(to: try await pair.port(of: .b))
                toA.lead(to: try await pair.port(of: .a))
                for answer in try await answers { #expect(answer == Array("hello".utf8)) }
                try await expectOneSessionAndNoReset(of: pair)
                try await lose(pair, toA, toB)
            }
        }
    }

    /// A client that says nothing yet has its stream opened a while after it came; the session that has to go waits for it.
    @Test func whenBothDialNoSilentConnectionIsLost() async throws {
        try await withCrossedPair { pair, toA, toB in
            for _ in 0..<scaled(20) {
                let clients = try ["fromA", "fromB"].map { try PlainSocket.connect(pair.endpoint($0)) }
                toB.lead(to: try await pair.port(of: .b))
                toA.lead(to: try await pair.port(of: .a))
                // Streams that are on the session that has to go keep it.
                try await eventually("both have their streams") {
                    let (a, b) = await (pair.a.status().peers[0], pair.b.status().peers[0])
                    return [a, b].allSatisfy { $0.sessions.flatMap(\.streams).count == 2 }
                }
                let answers = try await onThread {
                    for client in clients { try client.write("hello") }
                    return try clients.map { try $0.read(exactly: 5) }
                }
                for answer in answers { #expect(answer == Array("hello".utf8)) }
                for client in clients { client.close() }
                try await expectOneSessionAndNoReset(of: pair)
                try await lose(pair, toA, toB)
            }
        }
    }

    /// `a` has no more use for its own.
    @Test func whenBothDialOneSessionIsEnough() async throws {
        try await withSessionOfB { pair, first, toB in
            toB.lead(to: try await pair.port(of: .b))
            try await eventually("b sees the other dial end") { await pair.b.status().refused["closed"] == 1 }
            try await expectOneSession(of: pair)
            #expect(await pair.a.status().peers[0].sessions[0].dialled == false)
            try await first.finish()
        }
    }

    /// The session that has to go goes when the stream on it is over, and not before.
    @Test func whenBothDialALiveStreamGoesOn() async throws {
        try await withSessionOfB { pair, first, _ in
            // Nothing but a client makes a relay dial that has a session.
            let port = try await pair.port(of: .b), credentials = pair.setup.credentialsOfA
            let second = try await onThread {
                let second = try HandMadePeer.dial(port, credentials)
                try second.send(.hello(name: "a"))
                return Transferred(second)
            }
            try await eventually("the session of b drains") {
                await pair.b.status().peers[0].sessions.map(\.draining) == [true, false]
            }
            try await first.exchange("still here")
            try await first.finish()
            try await eventually("the session of b has ended") { await pair.b.status().peers[0].sessions.count == 1 }
            #expect(await pair.b.status().peers[0].sessions[0].dialled == false)
            _ = second.take()
        }
    }

    /// Two relays that dial each other through links that lead nowhere yet.
    private func withCrossedPair(run body: (RelayPair, _ toA: Link, _ toB: Link) async throws -> Void) async throws {
        let echo = try Target.echo(), toA = try Link(), toB = try Link()
        defer {
            toA.close()
            toB.close()
        }
        try await withPair { setup in
            setup.a.listen = [PlainSocket.anyPort]
            setup.a.peers[0].addresses = [toB.endpoint]
            setup.b.peers[0].addresses = [toA.endpoint]
            setup.limit { $0.sessionTimeout = .zero }
            setup.route("fromA", to: echo.endpoint, from: .a)
            setup.route("fromB", to: echo.endpoint, from: .b)
        } run: { pair in
            try await body(pair, toA, toB)
        }
    }

    /// As `withCrossedPair`; `b` gets through while the connection that `a` makes is held up.
    private func withSessionOfB(run body: (RelayPair, _ first: Bystander, _ toB: Link) async throws -> Void) async throws {
        try await withCrossedPair { pair, toA, toB in
            toA.lead(to: try await pair.port(of: .a))
            try await body(pair, Bystander(pair.connect("fromB")), toB)
        }
    }

    private func lose(_ pair: RelayPair, _ toA: Link, _ toB: Link) async throws {
        toB.cut()
        toA.cut()
        try await eventually("both know of the loss") {
            let (a, b) = await (pair.a.status(), pair.b.status())
            return a.peers[0].sessions.isEmpty && b.peers[0].sessions.isEmpty
        }
    }

    private func expectOneSessionAndNoReset(of pair: RelayPair) async throws {
        try await pair.settle()
        try await expectOneSession(of: pair)
        #expect(await pair.a.status().peers[0].streamsReset == 0)
        #expect(await pair.b.status().peers[0].streamsReset == 0)
    }

    private func expectOneSession(of pair: RelayPair) async throws {
        try await eventually("one session is left") {
            let (a, b) = await (pair.a.status().peers[0], pair.b.status().peers[0])
            return a.sessions.count == 1 && a.sessions.map(\.id) == b.sessions.map(\.id)
        }
        #expect(await pair.a.lastError("b") == nil)
        #expect(await pair.b.lastError("a") == nil)
    }

    // MARK: Losing

    @Test func aLostSessionEndsItsStreamsAndIsMadeAnew() async throws {
        let link = try Link()
        defer { link.close() }
        let ends = Collected<CInt>()
        let target = try Target { ends.add($0.readUntilOver().error) }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.limit { $0.sessionTimeout = .zero }
            setup.route("sink", to: target.endpoint, near: PlainSocket.anyPort)
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            let client = try await pair.connect("sink")
            try client.write("never finished")
            try await eventually("the target has it") { await pair.b.status().streams.first?.bytesReceived == 14 }
            link.cut()
            let (_, error) = try await onThread { client.readUntilOver() }
            #expect(error == ECONNRESET, "no client may take it for an orderly end")
            try await eventually("the target knows") { ends.all == [ECONNRESET] }
            let reset = try #require(try await pair.a.outcome("sink").reset)
            #expect(reset.code == "session-lost" && !reset.remote)
            #expect(reset.text.contains("closed the connection"))

            link.lead(to: try await pair.port(of: .b))
            try await Bystander(pair.connect("echo")).finish()
            #expect(await pair.a.lastError("b") == nil)
            try await pair.settle()
        }
    }

    /// Streams hold their session, and it holds those that wait for their turn to be read.
    @Test func aLostSessionLetsGoOfItsStreams() async throws {
        let link = try Link()
        defer { link.close() }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.limit { $0.sessionTimeout = .zero }
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            try await Bystander(pair.connect("echo")).finish()
            let b = try #require(pair.a.peers["b"])
            let session = try #require(await b.loop.run { WeakReference(b.peer.value.sessions.last) })
            #expect(session.object != nil)
            link.freeze()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<20 {
                    let client = try await pair.connect("echo")
                    group.addTask {
                        try await onThread { while (try? client.write([UInt8](repeating: 1, count: 64 << 10))) != nil {} }
                    }
                }
                try await eventually("all have said more than the link takes") {
                    let streams = await pair.a.status().streams
                    return streams.count == 20 && streams.allSatisfy { $0.bytesSent > 0 }
                        && streams.reduce(0) { $0 + $1.bytesSent } > 2 << 20
                }
                link.cut()
                try await group.waitForAll()
            }
            try await eventually("the session is let go") { session.object == nil }
        }
    }

    @Test func aPeerThatFallsSilentIsGivenUp() async throws {
        let link = try Link()
        defer { link.close() }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.limit {
                $0.keepalive = .seconds(10)
                $0.sessionTimeout = .zero
            }
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            let client = try await pair.connect("echo")
            try await Bystander(client).exchange("and silence")
            link.freeze()
            #expect(try await readUntilOver(client) == [])
            #expect(try await pair.a.outcome("echo").reset?.text.contains("nothing arrived from b") == true)
            try await pair.b.expectError("nothing arrived from a", of: "a")
            link.thaw()
            try await Bystander(pair.connect("echo")).finish()
        }
    }

    /// Bytes that wait to be read are no silence.
    @Test func aRelayThatWasHeldUpDoesNotBlameItsPeer() async throws {
        let sink = try Target { _ = try $0.readToEnd() }
        try await withPair { setup in
            setup.route("sink", to: sink.endpoint)
            setup.b.limits.keepalive = .seconds(10)
        } run: { pair in
            let client = try await pair.connect("sink")
            async let writing: Void = onThread {
                // Until the session ends, or the test.
                while (try? client.write([UInt8](repeating: 1, count: 64 << 10))) != nil {}
            }
            let session = try await eventually("bytes flow") {
                await pair.b.status().peers[0].sessions.first { $0.streams.first?.bytesReceived ?? 0 > 1 << 20 }
            }
            let loop = pair.b.peers["a"]!.loop
            _ = await loop.run { sleep(12) }
            let before = session.streams[0].bytesReceived
            try await eventually("bytes flow again") {
                let sessions = await pair.b.status().peers[0].sessions
                #expect(sessions.map(\.id) == [session.id])
                return sessions.first?.streams.first?.bytesReceived ?? .max > before + UInt64(scaled(64 << 20))
            }
            #expect(await pair.b.status().peers[0].sessions.map(\.lanesLost) == [0], "nor does it make another lane")
            client.stop()
            try await writing
        }
    }

    // MARK: Peers that do not do their part

    /// Lets `a` dial a peer made by hand, which then does what it does.
    private func withDialledPeer(
        patience: Duration = .seconds(300), _ serve: @escaping @Sendable (HandMadePeer) throws -> Void,
        run body: (RelayPair) async throws -> Void
    ) async throws {
        let listener = try PlainSocket.listen(PlainSocket.anyPort)
        defer { listener.stop() }
        let echo = try Target.echo()
        try await withPair { setup in
            let credentials = setup.credentialsOfB
            setup.route("echo", to: echo.endpoint)
            setup.a.limits.handshakeTimeout = patience
            setup.a.peers[0].addresses = [listener.endpoint]
            Thread.detachNewThread {
                while let connection = listener.acceptOrStop() {
                    try? serve(HandMadePeer(connection, .server, credentials))
                }
            }
        } run: { pair in
            try await body(pair)
        }
    }

    @Test func aPeerThatDoesNotSayHelloIsGivenUp() async throws {
        // Enough for the TLS handshake, which has as long.
        try await withDialledPeer(patience: .seconds(10)) { _ = $0.receiveAll() } run: { pair in
            #expect(try await readUntilOver(pair.connect("echo")) == [])
            let reset = try #require(try await pair.a.outcome("echo").reset)
            #expect(reset.code == "session-lost")
            #expect(reset.text == "no session with b: b did not say HELLO in time")
        }
    }

    @Test func aPeerThatAnswersForAnotherSessionIsGivenUp() async throws {
        try await withDialledPeer { peer in
            _ = try peer.receive(Frame.Kind.hello)
            try peer.send(.hello())
            _ = peer.receiveAll()
        } run: { pair in
            try await pair.a.expectError("answers for lane 0 of session", of: "b")
        }
    }

    /// A session that the peer has not answered yet is one: a reload makes no second one beside it.
    @Test func aReloadDoesNotDialASessionThatIsBeingMade() async throws {
        let listener = try PlainSocket.listen(PlainSocket.anyPort)
        try await withPair { setup in
            setup.a.peers[0].addresses = [listener.endpoint]
            setup.a.limits.handshakeTimeout = .seconds(300)
        } run: { pair in
            let credentials = pair.setup.credentialsOfB
            let peer = try await onThread {
                let peer = try HandMadePeer(try listener.accept(), .server, credentials)
                _ = try peer.receive(Frame.Kind.hello)
                return Transferred(peer)
            }
            var settings = pair.setup.a
            settings.peers[0].lanes = 2
            try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
            // What the reload asked of the peer's loop has been done then.
            _ = await pair.a.status()
            listener.isNonBlocking = true
            let error = #expect(throws: Failure.self) { try listener.accept() }
            #expect(error?.code == EAGAIN)
            _ = peer.take()
        }
    }

    /// What a peer says before it hangs up is the reason, also if the relay was still talking.
    @Test func theReasonThatAPeerGivesIsNotLostInTheNoise() async throws {
        try await withDialledPeer { peer in
            try peer.send(.hello(session: try peer.receive(Frame.Kind.hello).session, credit: 1 << 40))
            _ = try peer.receive(Frame.Kind.data)
            try peer.send(.goaway(1, "I have had enough"))
            // With bytes unread, so that what the relay sends meets a reset.
            peer.close()
        } run: { pair in
            for round in 0..<10 {
                let client = try await pair.connect("echo")
                try await onThread { while (try? client.write([UInt8](repeating: 1, count: 64 << 10))) != nil {} }
                let reset = try #require(try await pair.a.outcome("echo", after: round).reset)
                #expect(reset.text.contains("I have had enough"), "\(reset.text)")
            }
        }
    }
}
