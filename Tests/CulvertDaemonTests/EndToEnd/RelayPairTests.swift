import CulvertRelay
import Foundation
import FoundationNetworking
import Synchronization
import Testing

@testable import CulvertDaemon

extension BlockingTests {
    /// Two real relays as processes, and everything an operator does with them.
    @Suite struct RelayPairTests {
        private let directory: TemporaryDirectory
        private let services: [TestService]

        init() throws {
            directory = try TemporaryDirectory()
            let credentials = try TestCredentials(in: directory)
            for name in ["hosta", "hostb"] { try credentials.issue(name) }
            services = [try TestService(at: directory("echo.sock"), TestService.echo)]
        }

        /// hostb offers services to hosta and waits for it.
        private func far(tls: String? = nil, environment: [String: String] = [:]) throws -> RealRelay {
            try RealRelay(
                "hostb", in: directory, tls: tls,
                sections: """
                    peers: { hosta: }
                    services:
                      echo: { connect: "unix:\(directory("echo.sock"))", allow: [hosta] }
                      absent: { connect: "unix:\(directory("absent.sock"))", allow: [hosta] }
                      private: { connect: "unix:\(directory("echo.sock"))", allow: [] }
                    """, environment: environment)
        }

        private func nearSections(_ far: RealRelay, _ more: String = "") throws -> String {
            """
            peers: { hostb: { addresses: ["\(try far.address())"] } }
            forwards:
              - { listen: "unix:\(directory("made/echo.sock"))", to: hostb/echo, mode: "0600" }
            \(more)
            """
        }

        private func near(
            _ far: RealRelay, relay: String = "", tls: String? = nil, environment: [String: String] = [:]
        ) throws -> RealRelay {
            let near = try RealRelay(
                "hosta", in: directory, relay: relay, tls: tls, sections: try nearSections(far), environment: environment)
            try near.awaitSession(with: "hostb")
            return near
        }

        /// Sends all of `data` through a forward and returns what comes back.
        private func exchange(_ data: Data, through path: String) throws -> Data {
            let connection = try Channel(connectedTo: path)
            try connection.send(data)
            connection.endSending()
            return try connection.receiveAll()
        }

        @Test(arguments: [
            ("backend: gnutls, ca: ca.pem, certificate: hosta.pem, key: hosta.key", "directory: .", "GnuTLS TLSv1.3 TLS_AES_256"),
            ("psk: hosta.psk", "backend: gnutls, psk: hostb.psk", "OpenSSL TLSv1.3 TLS_AES_128"),
            ("backend: gnutls, psk: one.psk, psk-user: hosta", "psk: one.psk", "GnuTLS TLSv1.3 TLS_AES_128"),
        ])
        func otherLibrariesAndCredentialsWork(near: String, far: String, summary: String) throws {
            for (from, to) in [
                ("ca.pem", "ca-cert.pem"), ("hostb.pem", "server-cert.pem"), ("hostb.key", "server-key.pem"),
                ("hostb.pem", "client-cert.pem"), ("hostb.key", "client-key.pem"),
            ] { try FileManager.default.copyItem(atPath: directory(from), toPath: directory(to)) }
            let key = String(repeating: "0b", count: 32)
            for (file, peers) in [("hosta", ["hostb"]), ("hostb", ["hosta"]), ("one", ["hosta", "hostb"])] {
                try Data(peers.map { "\($0):\(key)\n" }.joined().utf8).write(
                    to: URL(fileURLWithPath: directory("\(file).psk")))
            }
            let farRelay = try self.far(tls: "{ \(far) }")
            let nearRelay = try self.near(farRelay, tls: "{ \(near) }")
            let data = Data((0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            #expect(try exchange(data, through: directory("made/echo.sock")) == data)
            let lanes = try nearRelay.client.status().peers.flatMap(\.sessions).flatMap(\.lanes)
            #expect(lanes.allSatisfy { $0.tls.hasPrefix(summary) } && !lanes.isEmpty)
        }

        @Test func forwardsAreSeenAddedUsedAndRemoved() throws {
            let far = try far()
            let near = try near(far)
            let listen = "unix:\(directory("sub/dir/x.sock"))"
            #expect(
                try exchange(Data("configured".utf8), through: directory("made/echo.sock")) == Data("configured".utf8))

            let added = try CommandLineTool.run(
                "forward", "add", listen, "hostb/echo", "--mode", "0600", "--admin", near.admin)
            #expect(added.status == 0, "\(added.stderr)")
            #expect(added.text.hasSuffix(" \(listen) -> hostb/echo\n"))
            #expect(try exchange(Data("added".utf8), through: directory("sub/dir/x.sock")) == Data("added".utf8))
            let mode =
                try FileManager.default.attributesOfItem(atPath: directory("sub/dir/x.sock"))[.posixPermissions] as? Int
            #expect(mode == 0o600)

            let listed = try CommandLineTool.run("forward", "list", "--json", "--admin", near.admin)
            let forwards = try JSONDecoder().decode([ForwardStatus].self, from: listed.stdout)
            #expect(forwards.map(\.origin) == ["config", "admin"])
            #expect(forwards.map(\.accepted) == [1, 1])

            let again = try CommandLineTool.run("forward", "add", listen, "hostb/echo", "--admin", near.admin)
            #expect(again.status == 1)
            #expect(again.stderr.contains(listen) && again.stderr.split(separator: "\n").count == 1)

            let removed = try CommandLineTool.run("forward", "remove", listen, "--admin", near.admin)
            #expect(removed == .init(status: 0, stdout: Data(), stderr: ""))
            #expect(!FileManager.default.fileExists(atPath: directory("sub/dir/x.sock")))
            let gone = try CommandLineTool.run("forward", "remove", listen, "--admin", near.admin)
            #expect(gone.status == 1)
            #expect(
                gone.stderr == "culvert: there is no forward '\(listen)'; `culvert forward list` shows what there is\n")
        }

        @Test func statusShowsThePair() throws {
            let far = try far()
            let near = try near(far)
            let table = try CommandLineTool.run("status", "--admin", near.admin)
            #expect(table.status == 0)
            #expect(table.text.hasPrefix("relay hosta, version 0.1.0, up "))
            #expect(table.text.contains("\nhostb  "))
            #expect(!table.text.contains("\u{1B}"), "no terminal, no attributes")

            let watch = try CommandLineTool(["status", "--watch", "--json", "--admin", far.admin])
            try eventually("three lines of JSON") { watch.stdoutSoFar.split(separator: UInt8(ascii: "\n")).count >= 3 }
            watch.kill(SIGTERM)
            for line in watch.stdoutSoFar.split(separator: UInt8(ascii: "\n")).prefix(3) {
                let status = try JSONDecoder().decode(RelayStatus.self, from: line)
                #expect(status.name == "hostb" && status.peers.map(\.name) == ["hosta"])
            }
        }

        @Test func metricsAreThereOverTCP() throws {
            func relay(_ name: String, peer: String, at host: String) throws -> (relay: RealRelay, url: Substring) {
                let relay = try RealRelay(name, in: directory, relay: ", metrics: \"\(host):0\"", sections: "peers: { \(peer): }")
                return (relay, try #require(relay.tool.stderrSoFar.firstMatch(of: /metrics can be read url=(http:\S+)/)?.1))
            }
            #expect(try relay("hostb", peer: "hosta", at: "[::1]").url.hasPrefix("http://[::1]:"))
            let (relay, url) = try relay("hosta", peer: "hostb", at: "127.0.0.1")
            defer { withExtendedLifetime(relay) {} }
            let text = try String(contentsOf: URL(string: String(url))!, encoding: .utf8)
            #expect(text.contains("culvert_info{name=\"hosta\""))
            #expect(text.contains("culvert_peer_sessions{peer=\"hostb\"} 0"))
            let port = try #require(url.firstMatch(of: /:([0-9]+)\//)?.1)
            let file = directory("taken.yaml")
            try Data(String(contentsOfFile: relay.configurationFile, encoding: .utf8)
                .replacing("127.0.0.1:0\" }", with: "127.0.0.1:\(port)\" }").replacing("hosta.sock", with: "taken.sock").utf8)
                .write(to: URL(fileURLWithPath: file))
            let taken = try CommandLineTool.run("serve", "--config", file)
            #expect(taken.status == 1 && taken.stderr.hasSuffix(
                "culvert: cannot listen on 127.0.0.1:\(port), which is relay.metrics: Address already in use\n"), "\(taken.stderr)")
            for path in ["/v1/status", "/v1/forwards", "/"] {
                #expect(throws: (any Error).self) { try String(contentsOf: URL(string: String(url).replacing("/metrics", with: path))!, encoding: .utf8) }
            }
        }

        /// Streams wait, people do not.
        @Test func aLostConnectionIsShown() throws {
            let far = try far()
            let near = try near(far)
            let connection = try Channel(connectedTo: directory("made/echo.sock"))
            try connection.send(Data("hello".utf8))
            try eventually("the stream is open") { try near.client.status().peers[0].sessions.first?.streams.isEmpty == false }
            far.tool.kill(SIGKILL)
            try eventually("hosta cannot connect") {
                try near.client.status().peers[0].lastError?.contains("Connection refused") == true
            }
            let check = try CommandLineTool.run("check", "hostb", "--admin", near.admin)
            #expect(check.status == 1)
            let said = check.text + check.stderr
            #expect(said.contains("the connection is lost, and streams wait for another: connect to tcp:127.0.0.1:"), "\(said)")
            let table = try CommandLineTool.run("status", "--admin", near.admin)
            #expect(table.text.contains("hostb: the connection is lost; 1 streams wait for another"), "\(table.text)")
            withExtendedLifetime(connection) {}
        }

        /// Ten at a time, a thousand times: neither relay keeps a descriptor, a stream or a byte of it.
        @Test func tenThousandStreamsLeaveNothingBehind() throws {
            let far = try far()
            let near = try near(far)
            let path = directory("made/echo.sock")
            _ = try exchange(Data("warm".utf8), through: path)
            let relays = [near, far]
            let before = try relays.map { try $0.tool.openDescriptors() }
            let failures = Mutex(0)
            DispatchQueue.concurrentPerform(iterations: 10) { worker in
                for number in 0..<1000 {
                    let text = Data("\(worker).\(number)".utf8)
                    if (try? exchange(text, through: path)) != text { failures.withLock { $0 += 1 } }
                }
            }
            #expect(failures.withLock { $0 } == 0)
            for (relay, descriptors) in zip(relays, before) {
                try eventually("\(relay.name) has let go of everything") {
                    let status = try relay.client.status()
                    return try status.memory == 0 && status.peers[0].sessions[0].streams.isEmpty
                        && relay.tool.openDescriptors() <= descriptors
                }
                let peer = try relay.client.status().peers[0]
                #expect(peer.streamsOpened == 10_001 && peer.streamsReset == 0)
            }
        }

        @Test func checkTriesAPeerAndSaysWhatItFound() throws {
            let far = try far()
            let near = try near(far)
            let good = try CommandLineTool.run("check", "hostb", "--admin", near.admin)
            #expect(good.status == 0, "\(good.stderr)")
            #expect(good.text.hasPrefix("hostb: ok\n  at 127.0.0.1:"))
            #expect(good.text.hasSuffix("\n  lets this host reach absent, echo\n"))

            let unknown = try CommandLineTool.run("check", "hostz", "--admin", near.admin)
            #expect(unknown.status == 1)
            #expect(unknown.stderr == "culvert: the local relay has no peer 'hostz'; its configuration names hostb\n")

            far.tool.kill(SIGKILL)
            let bad = try CommandLineTool.run("check", "hostb", "--admin", near.admin)
            #expect(bad.status == 1 && bad.text.isEmpty)
            #expect(bad.stderr.hasPrefix("culvert: hostb cannot be reached: ") && bad.stderr.contains("Connection refused"))
            let forScripts = try CommandLineTool.run("check", "hostb", "--admin", near.admin, "--json")
            #expect(forScripts.status == 1 && forScripts.stderr == bad.stderr)
            #expect(forScripts.text.contains(#""isReachable" : false"#))
        }

        /// Streams that come to an end before a relay does are no loss.
        @Test func aRelayThatIsStoppedIsNoError() throws {
            let far = try far()
            let near = try near(far)
            _ = try exchange(Data("hello".utf8), through: directory("made/echo.sock"))
            far.tool.kill(SIGTERM)
            #expect(try far.tool.output().status == 0)
            try eventually("hosta knows") { near.tool.stderrSoFar.contains("session ended: ") }
            #expect(!near.tool.stderrSoFar.contains("session lost"), "\(near.tool.stderrSoFar)")
        }

        @Test func aBenchmarkThatReachesNobodySaysWhy() throws {
            let far = try far()
            let near = try near(far)
            let bench = try CommandLineTool.run("bench", "--through", "hostb/absent", "--runs", "1", "--duration", "10ms", "--admin", near.admin)
            #expect(bench.status == 1)
            #expect(bench.stderr.hasSuffix(
                "culvert: hostb/absent: connect to unix:\(directory("absent.sock")): No such file or directory; "
                    + "does it lead to 'culvert bench serve'?\n"), "\(bench.stderr)")
        }

        @Test func checkSaysThatOneRelayAloneDoesNotDecideWhoEncrypts() throws {
            let far = try far()
            let near = try RealRelay("hosta", in: directory, sections: """
                peers: { hostb: { addresses: ["\(try far.address())"], tls: none } }
                """)
            try near.awaitSession(with: "hostb")
            let check = try CommandLineTool.run("check", "hostb", "--admin", near.admin)
            #expect(check.text.contains("\n  bulk is encrypted in the session: 'tls: none' takes it on both relays when a session begins\n"), "\(check.text)")
        }

        // MARK: connect

        @Test func connectCarriesEveryByteAndNothingElse() throws {
            let far = try far()
            let near = try near(far)
            _ = far
            let data = Data((0..<4_000_000).map { UInt8(truncatingIfNeeded: $0 &* 131 >> 3) })
            let output = try CommandLineTool.run("connect", "hostb/echo", "--admin", near.admin, input: data)
            #expect(output.status == 0, "\(output.stderr)")
            #expect(output.stdout == data)
            #expect(output.stderr == "")
            let sockets = try FileManager.default.contentsOfDirectory(atPath: directory.path).filter {
                $0.hasPrefix("once-")
            }
            #expect(sockets == [])
        }

        @Test(arguments: [
            ("hostb/absent", "reset by the peer (connect-failed)"),
            ("hostb/nothing", "reset by the peer (unknown-service)"),
            ("hostb/private", "reset by the peer (not-allowed)"), ("hostz/echo", "no peer 'hostz'"),
            ("hostb/a b", "the service's name has characters other than"),
        ])
        func connectSaysWhyItFails(to: String, reason: String) throws {
            let far = try far()
            let near = try near(far)
            _ = far
            let output = try CommandLineTool(["connect", to, "--admin", near.admin]).output()
            #expect(output.status == 1)
            #expect(output.stdout.isEmpty)
            #expect(output.stderr.contains(reason), "\(output.stderr)")
            #expect(output.stderr.split(separator: "\n").count == 1)
        }

        @Test func connectFailsWithTheRelay() throws {
            let far = try far()
            let near = try near(far)
            _ = far
            let tool = try CommandLineTool(["connect", "hostb/echo", "--admin", near.admin])
            try eventually("its stream") { try !near.client.status().peers[0].sessions.flatMap(\.streams).isEmpty }
            near.tool.kill(SIGKILL)
            let output = try tool.output()
            #expect(output.status == 1)
            #expect(output.stderr.contains("cannot tell whether the stream ended cleanly"))
        }

        // MARK: Signals

        @Test func reloadTakesNewForwardsAndKeepsStreams() throws {
            let far = try far()
            let near = try near(far)
            let live = try Channel(connectedTo: directory("made/echo.sock"))
            try live.send("before ")
            try eventually("its stream") { try !near.client.status().peers[0].sessions.flatMap(\.streams).isEmpty }

            try near.configure(
                sections: try nearSections(far, "  - { listen: \"unix:\(directory("new.sock"))\", to: hostb/echo }"))
            near.tool.kill(SIGHUP)
            try near.awaitNotification("RELOADING=1")
            try near.awaitNotification("READY=1")
            #expect(try exchange(Data("new".utf8), through: directory("new.sock")) == Data("new".utf8))

            try live.send("after")
            live.endSending()
            #expect(try live.receiveAll() == Data("before after".utf8))
        }

        @Test func badReloadChangesNothingAndIsReported() throws {
            let far = try far()
            let near = try near(far)
            let forwards = try near.client.forwards()
            try near.configure(sections: try nearSections(far, "services: { x: { connect: nowhere, allow: [hostc] } }"))
            near.tool.kill(SIGHUP)
            try near.awaitNotification("RELOADING=1")
            try near.awaitNotification("READY=1")
            #expect(try near.client.forwards() == forwards)
            let log = near.tool.stderrSoFar
            #expect(
                log.contains(
                    "\(near.configurationFile):6:27: services.x.connect: 'nowhere': starts with neither unix: nor tcp:")
            )
            #expect(log.contains("services.x.allow[0]: there is no peer 'hostc'"))
            #expect(log.contains("reload refused, nothing changed errors=2"))

            // The file is fine but a credential is not.
            try near.configure(sections: try nearSections(far))
            try Data("garbage".utf8).write(to: URL(fileURLWithPath: directory("hosta.pem")))
            near.tool.kill(SIGHUP)
            try near.awaitNotification("RELOADING=1")
            try near.awaitNotification("READY=1")
            #expect(near.tool.stderrSoFar.contains("tls: certificate \(directory("hosta.pem"))"))
            #expect(try exchange(Data("still".utf8), through: directory("made/echo.sock")) == Data("still".utf8))
        }

        @Test func firstTermDrainsAndStreamsFinish() throws {
            let far = try far()
            let near = try near(far)
            _ = far
            let live = try Channel(connectedTo: directory("made/echo.sock"))
            try live.send("first ")
            try eventually("its stream") { try !near.client.status().peers[0].sessions.flatMap(\.streams).isEmpty }

            near.tool.kill(SIGTERM)
            try near.awaitNotification("STOPPING=1")
            try eventually("its listeners close") { UnixSocket.occupant(of: directory("made/echo.sock")) == .nothing }
            #expect(near.tool.isRunning)
            try live.send("last")
            live.endSending()
            #expect(try live.receiveAll() == Data("first last".utf8))
            let output = try near.tool.output()
            #expect(output.status == 0, "\(output.stderr)")
            for path in [near.admin, directory("made/echo.sock")] {
                #expect(!FileManager.default.fileExists(atPath: path))
            }
        }

        @Test func drainIsBounded() throws {
            let far = try far()
            let near = try near(far, relay: ", drain: 0s")
            _ = far
            let live = try Channel(connectedTo: directory("made/echo.sock"))
            try live.send("x")
            try eventually("its stream") { try !near.client.status().peers[0].sessions.flatMap(\.streams).isEmpty }
            near.tool.kill(SIGTERM)
            let output = try near.tool.output()
            #expect(output.status == 0)
            #expect(output.stderr.contains("drain ran out of time cut=1"))
        }

        @Test func secondTermStopsAtOnce() throws {
            let far = try far()
            let near = try near(far, relay: ", drain: 1h")
            _ = far
            let live = try Channel(connectedTo: directory("made/echo.sock"))
            try live.send("x")
            try eventually("its stream") { try !near.client.status().peers[0].sessions.flatMap(\.streams).isEmpty }
            near.tool.kill(SIGTERM)
            try near.awaitNotification("STOPPING=1")
            #expect(near.tool.isRunning)
            near.tool.kill(SIGINT)
            let output = try near.tool.output()
            #expect(output.status == 0)
            #expect(output.stderr.contains("stopped at once: asked a second time"))
            #expect(try live.receiveAll() == Data())
        }

        @Test func watchdogIsFed() throws {
            let far = try far(environment: ["WATCHDOG_USEC": "200000"])
            for _ in 0..<3 { try far.awaitNotification("WATCHDOG=1") }
        }

        @Test func adminInterfaceSurvivesWantOfDescriptors() throws {
            let relay = try RealRelay("hosta", in: directory, sections: "", descriptors: 40)
            // The relay runs out of descriptors or, between two attempts, nobody listens: both end the loop.
            var connections: [CInt] = []
            defer { for connection in connections { close(connection) } }
            while connections.count < 60, let connection = try? UnixSocket.connect(relay.admin) {
                connections.append(connection)
            }
            try eventually("the failure in the log") { relay.tool.stderrSoFar.contains("admin interface starts again") }
            for connection in connections { close(connection) }
            connections = []
            try eventually("an answer") { (try? relay.client.status()) != nil }
        }

        @Test func logIsJSONIfAsked() throws {
            let far = try far()
            let near = try near(far, relay: ", log: { format: json, level: debug }")
            _ = far
            let lines = near.tool.stderrSoFar.split(separator: "\n")
            #expect(!lines.isEmpty)
            for line in lines {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
                #expect(object?["time"] != nil && object?["level"] != nil && object?["message"] != nil)
            }
            #expect(lines.contains { $0.contains(#""peer":"hostb""#) })
        }
    }
}
