import CulvertIO
import Dispatch
import Glibc
import Testing

@testable import CulvertRelay

/// What a client and its forward learn when the far side says no, while other streams go on.
@Suite(.fewAtOnce) struct RefusalTests {
    /// Asks the far relay for `service` and expects nothing but the end.
    private func refusal(
        _ service: String, to target: Endpoint? = nil, _ prepare: (inout PairSetup) throws -> Void = { _ in }
    ) async throws -> ResetReport {
        let echo = try Target.echo()
        var report: ResetReport?
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            setup.route(service, to: target, near: setup.directory.socket("refused"))
            try prepare(&setup)
        } run: { pair in
            let other = try await Bystander(pair.connect("echo"))
            let client = try await pair.connect(service)
            #expect(try await readUntilOver(client) == [])
            let outcome = try await pair.a.outcome(service)
            #expect(outcome.bytesReceived == 0)
            report = outcome.reset
            #expect(await pair.a.status().forward(service)?.active == 0)
            try await other.finish()
            client.close()
            try await pair.settle()
        }
        return try #require(report)
    }

    // MARK: Targets

    @Test func aTargetThatRefuses() async throws {
        let port = try PlainSocket.reservePort()
        let report = try await refusal("dead", to: port.endpoint)
        #expect(report.code == "connect-failed")
        #expect(report.errno == "ECONNREFUSED")
        #expect(report.text.contains("connect to tcp:127.0.0.1:") && report.text.contains("refused"))
        #expect(report.remote)
    }

    @Test func aTargetWhoseProcessIsGone() async throws {
        let directory = try TestDirectory(), target = directory.socket("stale")
        try PlainSocket.listen(target).close()
        let report = try await refusal("stale", to: target)
        #expect(report.code == "connect-failed")
        #expect(report.errno == "ECONNREFUSED")
        #expect(report.text.contains(directory["stale"]))
    }

    @Test func aTargetWhoseNameNobodyKnows() async throws {
        let report = try await refusal("homeless", to: .tcp(host: "no-such-host.invalid", port: 1))
        #expect(report.code == "connect-failed")
        #expect(report.text.contains("no-such-host.invalid"))
    }

    @Test func aTargetThatIsAbsent() async throws {
        let directory = try TestDirectory()
        let report = try await refusal("absent", to: directory.socket("absent"))
        #expect(report.code == "connect-failed")
        #expect(report.errno == "ENOENT")
        #expect(report.text.contains(directory["absent"]))
        #expect(report.remote)
    }

    /// The kernel queues one connection more than a UNIX listener's backlog; the next has to wait.
    @Test func aTargetThatHangs() async throws {
        let directory = try TestDirectory()
        let target = directory.socket("hanging")
        let listener = try PlainSocket.listen(target, backlog: 0), filler = try PlainSocket.connect(target)
        let report = try await refusal("hanging", to: target) { $0.b.limits.connectTimeout = .milliseconds(300) }
        #expect(report.code == "connect-failed")
        #expect(report.errno == "ETIMEDOUT")
        #expect(report.text.contains(directory["hanging"]))
        #expect(report.remote)
        filler.close()
        listener.close()
    }

    /// Opens wait for each other, so that the target sees them in order; they do not wait for each other's limits.
    @Test func everybodyWhoWaitsForAHangingTargetHearsWithinOneLimit() async throws {
        let directory = try TestDirectory(), endpoint = directory.socket("hangs")
        let hanging = try PlainSocket.listen(endpoint, backlog: 0)
        let filler = try PlainSocket.connect(endpoint)
        try await withPair { setup in
            setup.route("hangs", to: endpoint)
            setup.b.limits.connectTimeout = .seconds(3)
        } run: { pair in
            let near = pair.endpoint("hangs")
            try await onThread {
                let clients = try (0..<16).map { _ in try PlainSocket.connect(near) }
                for client in clients { #expect(client.readUntilOver().bytes.isEmpty) }
            }
            let ended = try await eventually("all have ended") {
                let ended = await pair.a.status().forward("hangs")!.ended
                return ended.count == 16 ? ended : nil
            }
            #expect(Set(ended.map { $0.reset?.code }) == ["connect-failed"])
            #expect(Set(ended.map { $0.reset?.errno }) == ["ETIMEDOUT"])
            // One after the other they would take 45 s longer.
            #expect(ended.last!.time - ended.first!.time < 30)
        }
        filler.close()
        hanging.close()
    }

    // MARK: Peers

    /// A client that only listens must not take it for an empty stream.
    @Test(arguments: [true, false]) func aPeerThatIsNotThereBreaksTheClientOff(isDialled: Bool) async throws {
        let nobody = try PlainSocket.reservePort(), directory = try TestDirectory(), pki = try TestPKI(directory)
        var settings = relaySettings("a", directory)
        settings.listen = []
        settings.peers = [PeerSettings(name: "b", addresses: isDialled ? [nobody.endpoint] : [])]
        settings.forwards = [ForwardSettings(listen: PlainSocket.anyPort, to: ServiceReference(peer: "b", service: "x"))]
        try await withRelay(settings, try pki.context("a")) { relay in
            let forward = try #require(await relay.forwards().first), near = try Endpoint(forward.listen)
            let error = try await onThread {
                do {
                    return try PlainSocket.connect(near).readUntilOver().error
                } catch let failure as Failure {
                    return failure.code
                }
            }
            #expect(error == ECONNRESET)
            #expect(try await relay.outcome("x").reset?.code == "session-lost")
        }
    }

    // MARK: Services

    @Test func aServiceThatDoesNotAllowThePeer() async throws {
        let echo = try Target.echo()
        let report = try await refusal("private") {
            $0.b.services.append(ServiceSettings(name: "private", connect: echo.endpoint, allow: ["somebody"]))
        }
        #expect(report.code == "not-allowed")
        #expect(report.errno == nil)
        #expect(report.text == "the service 'private' does not allow 'a'; its 'allow' would have to name it")
        #expect(report.remote)
        #expect(echo.accepted == 0)
    }

    @Test func aServiceThatIsUnknown() async throws {
        let report = try await refusal("nothing")
        #expect(report.code == "unknown-service")
        #expect(report.errno == nil)
        #expect(report.text == "there is no service 'nothing' here")
        #expect(report.remote)
    }

    private static let badName = "a name has 1 to 64 letters, digits, '-' or '_'"

    @Test(arguments: [
        ("slot/a/b", badName), ("slot/../up", badName), ("slot/..", badName), ("slot/a.b", badName), ("slot/", badName),
        ("slot/.", badName), ("slot/a b", badName), ("slot/a\0", badName), ("slot/%2e%2e", badName), ("slot/é", badName), ("slot/" + String(repeating: "n", count: 65), badName),
        ("slot", "the service 'slot' needs a name; ask for 'slot/NAME'"),
        ("echo/name", "the service 'echo' takes no name; ask for 'echo'"),
    ])
    func aNameThatIsNone(asked: String, text: String) async throws {
        let report = try await refusal(asked) { setup in
            let template = setup.directory.socket("slot-{name}")
            setup.b.services.append(ServiceSettings(name: "slot", connect: template, allow: ["a"]))
        }
        #expect(report.code == "bad-name")
        #expect(report.errno == nil)
        #expect(report.text == text)
        #expect(report.remote)
    }

    @Test func aNameTooLongForItsPath() async throws {
        let report = try await refusal("slot/" + String(repeating: "n", count: 64)) { setup in
            let template = setup.directory.socket(String(repeating: "d", count: 30) + "{name}")
            setup.b.services.append(ServiceSettings(name: "slot", connect: template, allow: ["a"]))
        }
        #expect(report.code == "bad-name")
        #expect(report.text.contains("the kernel takes 107"))
    }

    @Test func aNameOf64CharactersLeadsToItsSocket() async throws {
        let directory = try TestDirectory()
        let name = String(repeating: "n", count: 60) + "-_0Z"
        let echo = try Target.echo(at: directory.socket("s-\(name)"))
        try await withPair { setup in
            setup.route("slot/\(name)", to: directory.socket("s-{name}"), near: setup.directory.socket("near"))
        } run: { pair in
            try await Bystander(pair.connect("slot/\(name)")).finish()
            try await pair.settle()
        }
        #expect(echo.accepted == 1)
    }

    // MARK: Built-in services

    @Test func whatMayBeReachedIsAnswered() async throws {
        let endpoint = Endpoint.tcp(host: "127.0.0.1", port: 9)
        try await withPair { setup in
            setup.b.services = [
                ServiceSettings(name: "web", connect: endpoint, allow: ["a"]),
                ServiceSettings(name: "slot", connect: .unix(path: "/run/{name}.sock"), allow: ["somebody", "a"]),
                ServiceSettings(name: "private", connect: endpoint, allow: ["somebody"]),
            ]
            for name in ["culvert/services", "culvert/target/web", "culvert/target/slot/x"] {
                setup.route(name, to: nil)
            }
        } run: { pair in
            #expect(try await answer("culvert/services", pair) == #"{"services":["slot/NAME","web"]}"# + "\n")
            #expect(try await answer("culvert/target/web", pair) == #"{"target":"tcp:127.0.0.1:9"}"# + "\n")
            #expect(try await answer("culvert/target/slot/x", pair) == #"{"target":"unix:/run/x.sock"}"# + "\n")
            try await pair.settle()
        }
    }

    private func answer(_ service: String, _ pair: RelayPair) async throws -> String {
        let client = try await pair.connect(service)
        client.finishWriting()
        let text = try await onThread { String(decoding: try client.readToEnd(), as: UTF8.self) }
        #expect(try await pair.a.outcome(service).reset == nil)
        return text
    }

    @Test(arguments: [
        ("culvert/target/private", "not-allowed", "does not allow 'a'"),
        ("culvert/target/nothing", "unknown-service", "no service 'nothing'"),
        ("culvert/target/echo/..", "bad-name", "takes no name"),
        ("culvert/secrets", "unknown-service", "no built-in service 'culvert/secrets'"),
    ])
    func whatMayNotBeReachedIsNotAnswered(asked: String, code: String, text: String) async throws {
        let report = try await refusal(asked) {
            $0.b.services.append(
                ServiceSettings(name: "private", connect: .tcp(host: "127.0.0.1", port: 9), allow: ["somebody"]))
        }
        #expect(report.code == code)
        #expect(report.text.contains(text))
        #expect(report.remote)
    }

    // MARK: Deaths

    /// A UNIX socket closed with bytes unread resets its peer, which first reads what was sent.
    @Test func theLastWordsOfATargetThatDiesArrive() async throws {
        let directory = try TestDirectory()
        let words = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 9) }
        let echo = try Target.echo()
        let dying = try Target(at: directory.socket("dying")) { connection in
            _ = try connection.read(exactly: 1)
            try connection.write(words)
            connection.close()
        }
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            setup.route("dying", to: dying.endpoint)
        } run: { pair in
            let other = try await Bystander(pair.connect("echo"))
            let client = try await pair.connect("dying")
            let (bytes, _) = try await onThread {
                try client.write("a hundred questions")
                return client.readUntilOver()
            }
            #expect(bytes == words)
            let outcome = try await pair.a.outcome("dying")
            #expect(outcome.bytesReceived == UInt64(words.count))
            #expect(outcome.reset?.code == "local-closed")
            #expect(outcome.reset?.errno == "ECONNRESET")
            #expect(outcome.reset?.text.contains("the target of dying") == true)
            #expect(outcome.reset?.remote == true)
            try await other.finish()
            client.close()
            try await pair.settle()
        }
    }

    @Test func theLastWordsOfAClientThatDiesArrive() async throws {
        let echo = try Target.echo(), heard = Collected<(bytes: [UInt8], error: CInt)>()
        let target = try Target { connection in
            try connection.write("an answer")
            heard.add(connection.readUntilOver())
        }
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            setup.route("target", to: target.endpoint)
        } run: { pair in
            let other = try await Bystander(pair.connect("echo"))
            let client = try await pair.connect("target")
            try await onThread {
                try client.write("last words")
                _ = try client.read(exactly: 1)
                client.close()
            }
            let outcome = try await pair.a.outcome("target")
            #expect(outcome.reset?.code == "local-closed")
            #expect(outcome.reset?.errno == "ECONNRESET")
            #expect(outcome.reset?.text.contains("a client of unix:") == true)
            #expect(outcome.reset?.remote == false)
            let end = try await eventually("the target has seen the end") { heard.all.first }
            #expect(end.bytes == Array("last words".utf8))
            #expect(end.error == ECONNRESET)
            try await other.finish()
            try await pair.settle()
        }
    }

    /// Nothing is read of it any more, and nothing is to be written.
    @Test func aClientThatBreaksAfterItsEndIsNoticed() async throws {
        let isOver = DispatchSemaphore(value: 0)
        defer { isOver.signal() }
        let silent = try Target { connection in
            _ = try connection.readToEnd()
            isOver.wait()
        }
        try await withPair { $0.route("silent", to: silent.endpoint, near: PlainSocket.anyPort) } run: { pair in
            let client = try await pair.connect("silent")
            try await onThread {
                try client.write("a question")
                client.finishWriting()
            }
            try await eventually("its end is known") {
                await pair.b.status().streams.first?.state == "half-closed (remote)"
            }
            client.reset()
            let reset = try #require(try await pair.a.outcome("silent").reset)
            #expect(reset.code == "local-closed" && !reset.remote && reset.text.contains("a client of tcp:"), "\(reset)")
            try await pair.settle()
            #expect(await pair.b.status().peers[0].streamsReset == 1)
        }
    }

    /// Who has said all and is gone may still want it done.
    @Test(arguments: [true, false], [true, false])
    func whatAClientSaidThatDidNotWaitArrives(isTCP: Bool, halfCloses: Bool) async throws {
        let words = (0..<256 << 10).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 9) }
        let isRead = DispatchSemaphore(value: 0), heard = Collected<(bytes: [UInt8], error: CInt)>()
        defer { isRead.signal() }
        let slow = try Target { connection in
            isRead.wait()
            heard.add(connection.readUntilOver())
        }
        try await withPair { $0.route("slow", to: slow.endpoint, near: isTCP ? PlainSocket.anyPort : nil) } run: { pair in
            let client = try await pair.connect("slow")
            try await onThread {
                try client.write(words)
                if halfCloses { client.finishWriting() }
                client.close()
            }
            try await eventually("all was read of it") {
                await pair.a.status().streams.first?.state == "half-closed (local)"
            }
            isRead.signal()
            let end = try await eventually("the target has seen the end") { heard.all.first }
            #expect(end.bytes == words && end.error == 0)
            try await pair.settle()
        }
    }
}
