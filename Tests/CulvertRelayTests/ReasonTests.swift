import CulvertIO
import Glibc
import Testing

@testable import CulvertRelay

/// Whoever asks for a service and does not get it is told at once, and told the true cause.
@Suite struct ReasonTests {
    /// What a client that asked for `service` got, and what the forward remembers of it.
    private func ask(_ service: String, through pair: RelayPair) async throws -> (heard: [UInt8], error: CInt, StreamOutcome) {
        try await pair.withForward(to: service) { near, id in
            let (heard, error) = try await onThread {
                let client = try PlainSocket.connect(near)
                // What it says is lost, and must not keep it from hearing the end.
                try client.write("hello")
                return client.readUntilOver()
            }
            let outcome = try await eventually("the forward remembers the stream") {
                try await pair.a.forward(id).ended.first
            }
            return (heard, error, outcome)
        }
    }

    /// The reason that reaches the near side, where the local connection is gone.
    private func refusal(_ service: String, through pair: RelayPair) async throws -> ResetReport {
        let (heard, error, outcome) = try await ask(service, through: pair)
        #expect(heard.isEmpty)
        #expect(error == ECONNRESET)
        let reset = try #require(outcome.reset)
        #expect(reset.remote)
        try await pair.settle()
        return reset
    }

    // MARK: Targets

    @Test func aTargetThatIsNotThereClosesTheNearSideWithItsErrno() async throws {
        try await withPair { setup in
            let closed = try PlainSocket.listen(PlainSocket.anyPort)
            setup.route("closed", to: closed.endpoint)
            closed.close()
            let stale = setup.directory.socket("stale")
            try PlainSocket.listen(stale).close()
            setup.route("stale", to: stale)
            setup.route("absent", to: setup.directory.socket("absent"))
            setup.route("homeless", to: .tcp(host: "no-such-host.invalid", port: 1))
        } run: { pair in
            for (service, errno) in [("closed", "ECONNREFUSED"), ("stale", "ECONNREFUSED"), ("absent", "ENOENT")] {
                let reset = try await refusal(service, through: pair)
                #expect(reset.code == "connect-failed")
                #expect(reset.errno == errno)
                #expect(reset.text.contains(pair.directory.path) || service == "closed", "\(reset.text)")
            }
            let reset = try await refusal("homeless", through: pair)
            #expect(reset.code == "connect-failed")
            #expect(reset.text.contains("no-such-host.invalid"))
        }
    }

    /// Opens wait for each other, so that the target sees them in order; they do not wait for each other's limits.
    @Test func everybodyWhoWaitsForAHangingTargetHearsWithinOneLimit() async throws {
        let directory = try TestDirectory(), endpoint = directory.socket("hangs")
        let hanging = try PlainSocket.listen(endpoint, backlog: 0)
        let filler = try PlainSocket.connect(endpoint)
        try await withPair { setup in
            setup.route("hangs", to: endpoint)
            setup.b.limits.connectTimeout = .seconds(1)
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
            // One after the other they would take 15 s longer.
            #expect(ended.last!.time - ended.first!.time < 8)
        }
        filler.close()
        hanging.close()
    }

    // MARK: Names

    @Test(arguments: [
        ("nothing", "unknown-service", "no service 'nothing'"),
        ("private", "not-allowed", "does not allow 'a'"),
        ("private/x", "not-allowed", "does not allow 'a'"),
        ("slot", "bad-name", "slot/NAME"),
        ("slot/", "bad-name", "letters, digits"),
        ("slot/..", "bad-name", "letters, digits"),
        ("slot/.", "bad-name", "letters, digits"),
        ("slot/a.b", "bad-name", "letters, digits"),
        ("slot/a/b", "bad-name", "letters, digits"),
        ("slot/../private", "bad-name", "letters, digits"),
        ("slot/%2e%2e", "bad-name", "letters, digits"),
        ("slot/a b", "bad-name", "letters, digits"),
        ("slot/\u{e9}", "bad-name", "letters, digits"),
        ("slot/a\0", "bad-name", "letters, digits"),
        ("slot/\(String(repeating: "x", count: 65))", "bad-name", "1 to 64"),
        ("far/\(String(repeating: "x", count: 64))", "bad-name", "107"),
        ("plain/x", "bad-name", "takes no name"),
        ("/plain", "unknown-service", "no service ''"),
        ("culvert/nothing", "unknown-service", "built-in"),
        ("culvert/target/nothing", "unknown-service", "no service 'nothing'"),
        ("culvert/target/private", "not-allowed", "does not allow 'a'"),
        ("culvert/target/slot", "bad-name", "slot/NAME"),
        ("culvert/target/slot/../x", "bad-name", "letters, digits"),
    ])
    func whatIsNotToBeHadIsRefused(_ service: String, code: String, text: String) async throws {
        let echo = try Target.echo()
        try await withPair { setup in
            setup.b.services = [
                ServiceSettings(name: "plain", connect: echo.endpoint, allow: ["a"]),
                ServiceSettings(name: "private", connect: echo.endpoint, allow: ["c"]),
                ServiceSettings(name: "slot", connect: setup.directory.socket("slot-{name}.sock"), allow: ["a"]),
                ServiceSettings(
                    name: "far", connect: setup.directory.socket(String(repeating: "d", count: 30) + "{name}"), allow: ["a"]),
            ]
        } run: { pair in
            let reset = try await refusal(service, through: pair)
            #expect(reset.code == code)
            #expect(reset.errno == nil)
            #expect(reset.text.contains(text), "\(reset.text)")
            #expect(echo.accepted == 0)
        }
    }

    @Test func aNameLeadsToItsSocketAndCanBeAskedFor() async throws {
        let directory = try TestDirectory()
        let echo = try Target.echo(at: directory.socket("slot-web_1-A.sock"))
        try await withPair { setup in
            setup.b.services = [
                ServiceSettings(name: "slot", connect: directory.socket("slot-{name}.sock"), allow: ["a"]),
            ]
        } run: { pair in
            let answer = try await pair.withForward(to: "slot/web_1-A") { near, _ in
                try await onThread {
                    let client = try PlainSocket.connect(near)
                    try client.write("hello")
                    client.finishWriting()
                    return try client.readToEnd()
                }
            }
            #expect(answer == Array("hello".utf8))
            #expect(echo.accepted == 1)

            let target = try await pair.withForward(to: "culvert/target/slot/web_1-A") { near, _ in
                try await onThread {
                    let client = try PlainSocket.connect(near)
                    client.finishWriting()
                    return String(decoding: try client.readToEnd(), as: UTF8.self)
                }
            }
            #expect(target == "{\"target\":\"unix:\(directory["slot-web_1-A.sock"])\"}\n")
            #expect(echo.accepted == 1, "to ask where it leads is not to go there")
        }
    }

    // MARK: Ends that die

    /// A QEMU that dies says why, on its way out; that must not be lost behind the reset.
    @Test(arguments: [false, true])
    func theLastWordsOfATargetThatDiesArrive(isTCP: Bool) async throws {
        let words = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let directory = try TestDirectory()
        let target = try Target(at: isTCP ? PlainSocket.anyPort : directory.socket("dies")) { connection in
            _ = try connection.read(exactly: 5)
            try connection.write(words)
            // The rest of what the client says stays unread, so this is no orderly end.
            connection.reset()
        }
        try await withPair { $0.route("dies", to: target.endpoint) } run: { pair in
            let client = try await pair.connect("dies")
            async let writing: Void? = try? onThread {
                while true { try client.write([UInt8](repeating: 1, count: 64 << 10)) }
            }
            let (heard, _) = try await onThread { client.readUntilOver() }
            _ = await writing
            if isTCP {
                // TCP takes back what its reader has not read yet.
                #expect(words.starts(with: heard))
            } else {
                #expect(heard == words)
            }
            let reset = try await pair.a.outcome("dies").reset
            #expect(reset?.code == "local-closed")
            #expect(reset?.remote == true)
            #expect(reset?.errno == "ECONNRESET" || reset?.errno == "EPIPE")
            #expect(reset?.text.contains("the target of dies") == true)
            try await pair.settle()
        }
    }

    @Test func aClientThatDiesResetsItsTarget() async throws {
        let errors = Recorder<CInt>()
        let target = try Target { errors.add($0.readUntilOver().error) }
        try await withPair { $0.route("sink", to: target.endpoint, near: PlainSocket.anyPort) } run: { pair in
            let client = try await pair.connect("sink")
            try await onThread {
                try client.write([UInt8](repeating: 1, count: 1 << 20))
                client.reset()
            }
            try await eventually("the target has heard") { !errors.all.isEmpty }
            #expect(errors.all == [ECONNRESET])
            let reset = try await pair.a.outcome("sink").reset
            #expect(reset?.code == "local-closed")
            #expect(reset?.remote == false)
            #expect(reset?.text.contains("a client of") == true)
            try await pair.settle()
        }
    }
}
