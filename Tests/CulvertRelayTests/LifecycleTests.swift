import CulvertIO
import Foundation
import Testing

@testable import CulvertRelay

/// How a relay starts, and the ways it ends.
@Suite(.fewAtOnce) struct LifecycleTests {
    // MARK: start

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
        let port = try PlainSocket.reservePort()
        setup.a.listen = [port.endpoint]
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
        #expect(try await connectError(port.endpoint) == ECONNREFUSED)
        #expect(try await connectError(setup.directory.socket("a-echo")) == ENOENT)
        owner.close()
        await relay.stop()
    }

    // MARK: drain

    @Test func streamsFinishWhileARelayDrains() async throws {
        try await withEchoPair { _ in } run: { pair in
            let live = try await Bystander(pair.connect("echo"))
            async let cut = pair.b.drain(within: .seconds(60))
            try await eventually("a knows that b drains") {
                await pair.a.status().peer("b")?.sessions.first?.draining == true
            }
            let status = await pair.b.status()
            #expect(status.draining && status.listen == [])
            let late = try await pair.connect("echo")
            try await live.finish()
            #expect(await cut == 0)
            #expect(try await readUntilOver(late) == [])
            let ended = try await (pair.a.outcome("echo"), pair.a.outcome("echo", after: 1))
            #expect(ended.0.reset?.code == "session-lost" && ended.0.reset?.remote == false)
            #expect(ended.0.reset?.text.contains("no session with b: connect to tcp:127.0.0.1:") == true)
            #expect(ended.1.reset == nil && ended.1.bytesReceived == 11)
            try await pair.settle()
        }
    }

    /// Its OPEN waits for the client's first bytes.
    @Test func aClientThatSaidNothingYetIsServedWhileARelayDrains() async throws {
        let greeter = try Target { try? $0.write("welcome") }
        try await withPair { setup in
            setup.route("greeter", to: greeter.endpoint)
            setup.limit { $0.openWait = .seconds(1) }
        } run: { pair in
            try await pair.connected()
            let client = try await pair.connect("greeter")
            try await eventually("a has the connection") { await pair.a.status().streams.count == 1 }
            async let cut = pair.a.drain(within: .seconds(60))
            #expect(try await onThread { try client.read(exactly: 7) } == Array("welcome".utf8))
            client.close()
            #expect(await cut == 0)
        }
    }

    @Test func aRelayThatDrainsHasNoForwards() async throws {
        try await withEchoPair { _ in } run: { pair in
            let live = try await Bystander(pair.connect("echo"))
            async let cut = pair.a.drain(within: .seconds(60))
            try await eventually("the forward is gone") { try await connectError(pair.endpoint("echo")) == ENOENT }
            let near = pair.directory.socket("near")
            do {
                let settings = ForwardSettings(listen: near, to: ServiceReference(peer: "b", service: "echo"))
                _ = try await pair.a.addForward(settings)
                Issue.record("made a forward while draining")
            } catch let error as RelayError {
                #expect(error.description == "the relay is shutting down")
            }
            try await live.finish()
            #expect(await cut == 0)
        }
    }

    @Test func streamsThatDoNotFinishAreCutAndCounted() async throws {
        try await withEchoPair { _ in } run: { pair in
            let clients = try await [pair.connect("echo"), pair.connect("echo")]
            for client in clients { try await Bystander(client).exchange("more") }
            #expect(await pair.b.drain(within: .milliseconds(200)) == 2)
            for (index, client) in clients.enumerated() {
                #expect(try await readUntilOver(client) == [])
                try await expectRemoteEnd(pair.a.outcome("echo", after: index), "this relay is shutting down")
            }
            try await pair.settle()
        }
    }

    /// Also while both directions are full.
    @Test(arguments: Side.allCases)
    func theOtherSideSaysWhyBusyStreamsWereCut(side: Side) async throws {
        let echo = try Target.echo()
        try await withPair { setup in
            // Whoever drains, the other one has the client and remembers how it went.
            setup.route("echo", to: echo.endpoint, from: side.other)
        } run: { pair in
            try await pair.connected()
            let client = try await pair.connect("echo")
            async let writing: Void = onThread {
                while (try? client.write([UInt8](repeating: 1, count: 64 << 10))) != nil {}
            }
            async let reading = readUntilOver(client)
            try await eventually("bytes flow") { await pair[side].status().streams.first?.bytesSent ?? 0 > 8 << 20 }
            #expect(await pair[side].drain(within: .milliseconds(200)) == 1)
            _ = try await (writing, reading)
            let reset = try #require(try await pair[side.other].outcome("echo").reset)
            #expect(reset.text.contains("this relay is shutting down"), "\(reset)")
        }
    }

    // MARK: stop

    @Test func theOtherSideSaysWhyStreamsEnded() async throws {
        try await withEchoPair { _ in } run: { pair in
            let client = try await pair.connect("echo")
            try await Bystander(client).exchange("more")
            await pair.b.stop()
            #expect(try await readUntilOver(client) == [])
            try await expectRemoteEnd(pair.a.outcome("echo"), "this relay stopped")
            try await pair.settle()
        }
    }

    private func expectRemoteEnd(_ outcome: StreamOutcome, _ text: String) {
        #expect(outcome.bytesReceived == 10)
        #expect(outcome.reset?.code == "shutdown")
        #expect(outcome.reset?.errno == nil)
        #expect(outcome.reset?.text == text)
        #expect(outcome.reset?.remote == true)
    }
}
