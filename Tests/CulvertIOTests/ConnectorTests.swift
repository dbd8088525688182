import CulvertIO
import Foundation
import Synchronization
import Testing

@Suite struct ConnectorTests {
    /// What completions gave, in a form that tests can hold.
    typealias Outcomes = Inbox<Result<Transferred<Descriptor>, IOError>>

    /// On the loop.
    @discardableResult
    private static func start(
        _ endpoint: Endpoint, _ loop: EventLoop, _ outcomes: Outcomes, timeout: Duration = .seconds(20)
    ) -> Connector {
        Connector(to: endpoint, loop: loop, timeout: timeout) { result in
            loop.preconditionCurrent()
            switch consume result {
            case .success(let socket): outcomes.put(.success(Transferred(socket)))
            case .failure(let error): outcomes.put(.failure(error))
            }
        }
    }

    private func connect(to endpoint: Endpoint, _ loop: EventLoop, timeout: Duration = .seconds(20)) throws -> Descriptor {
        let outcomes = Outcomes()
        loop.execute { Self.start(endpoint, loop, outcomes, timeout: timeout) }
        return try outcomes.take("the connector").get().take()
    }

    private func failure(of endpoint: Endpoint, timeout: Duration = .seconds(20)) throws -> IOError? {
        try withLoop { loop in
            #expect(throws: IOError.self) { _ = try connect(to: endpoint, loop, timeout: timeout) }
        }
    }

    // MARK: TCP

    @Test(arguments: ["127.0.0.1", "::1", "localhost"]) func connectsOverTCP(host: String) throws {
        try withLoop { loop in
            let accepted = Inbox<Transferred<Descriptor>>()
            let listener = try loop.sync {
                let listener = try Listener(endpoint: .tcp(host: host, port: 0), loop: loop) { accepted.put(Transferred($0)) }
                return LoopBound(listener, loop: loop)
            }
            let local = try loop.sync { listener.value.local }
            guard case .tcp(_, let port) = local else { Issue.record("\(local)"); return }
            let near = try connect(to: .tcp(host: host, port: port), loop)
            let far = try accepted.take().take()
            #expect(near.write("hello") == .bytes(5))
            near.shutdownWrite()
            try #expect(far.readToEnd() == ("hello", .endOfStream))
            #expect(near.remoteAddress == local.address)
            #expect(near.localAddress == far.remoteAddress)
            try loop.sync { listener.value.close() }
        }
    }

    @Test func namesTheEndpointThatRefused() throws {
        let bound = try TCPListener(backlog: nil)
        let error = try failure(of: .tcp(host: "127.0.0.1", port: bound.port))
        #expect(error?.name == "ECONNREFUSED")
        #expect(error?.description == "connect to tcp:127.0.0.1:\(bound.port): Connection refused")
    }

    @Test func namesTheAddressOfANameThatRefused() throws {
        let bound = try TCPListener(backlog: nil)
        let description = try #require(try failure(of: .tcp(host: "localhost", port: bound.port))).description
        let port = bound.port
        let addresses = ["127.0.0.1:\(port)", "[::1]:\(port)"]
        #expect(addresses.contains { description == "connect to tcp:localhost:\(port) (\($0)): Connection refused" })
    }

    @Test func saysThatANameIsUnknown() throws {
        let error = try failure(of: .tcp(host: "no name", port: 1))
        #expect(error?.name == "EHOSTUNREACH")
        #expect(error?.description.hasPrefix("connect to tcp:no name:1: look up 'no name': ") == true)
    }

    @Test func looksUpMoreNamesThanItHasThreads() throws {
        try withLoop { loop in
            let outcomes = Outcomes()
            let bound = try TCPListener(backlog: nil)
            let port = bound.port
            loop.execute { for _ in 0..<100 { Self.start(.tcp(host: "localhost", port: port), loop, outcomes) } }
            for outcome in try outcomes.take(count: 100) {
                #expect(throws: IOError.self) { _ = try outcome.get() }
            }
            _ = consume bound
        }
    }

    @Test func givesUpOnAHostThatDoesNotAnswer() throws {
        let listener = try TCPListener(backlog: 0)
        let others = try (0..<3).map { _ in try Transferred(listener.connect()) }
        let error = try failure(of: .tcp(host: "127.0.0.1", port: listener.port), timeout: .milliseconds(50))
        #expect(error?.name == "ETIMEDOUT")
        #expect(error?.description == "connect to tcp:127.0.0.1:\(listener.port): no answer within 0.05 seconds")
        others.forEach { _ = $0.take() }
    }

    // MARK: UNIX

    @Test func connectsOverUNIX() throws {
        try withDirectory { directory in
            try withLoop { loop in
                let listener = try UnixListener(path: directory + "/s", backlog: 1)
                let near = try connect(to: .unix(path: directory + "/s"), loop)
                let far = Descriptor(adopting: accept(listener.socket.rawValue, nil, nil))
                #expect(near.write("hello") == .bytes(5))
                _ = consume near
                try #expect(far.readToEnd() == ("hello", .endOfStream))
                _ = consume listener
            }
        }
    }

    @Test func saysThatAPathIsAbsent() throws {
        let error = try failure(of: .unix(path: "/tmp/culvert-absent.sock"))
        #expect(error?.name == "ENOENT")
        #expect(error?.description == "connect to unix:/tmp/culvert-absent.sock: No such file or directory")
    }

    @Test func saysThatNobodyListens() throws {
        try withDirectory { directory in
            let bound = try UnixListener(path: directory + "/s", backlog: nil)
            try #expect(failure(of: .unix(path: directory + "/s"))?.name == "ECONNREFUSED")
            _ = consume bound
        }
    }

    @Test func refusesAPathThatIsTooLong() throws {
        try #expect(failure(of: .unix(path: "/" + String(repeating: "x", count: 107)))?.name == "ENAMETOOLONG")
    }

    @Test func waitsForAPlaceInAFullQueue() throws {
        try withDirectory { directory in
            try withLoop { loop in
                let path = directory + "/s"
                let listener = try UnixListener(path: path, backlog: 0)
                let other = try UnixListener.connect(to: path)
                #expect(throws: IOError.self) { _ = try UnixListener.connect(to: path) }

                let outcomes = Outcomes()
                loop.execute { Self.start(.unix(path: path), loop, outcomes) }
                // By the second turn the attempt has been made.
                try loop.sync {}
                try loop.sync {}
                #expect(outcomes.isEmpty)
                close(accept(listener.socket.rawValue, nil, nil))
                _ = try outcomes.take("the connector").get().take()
                _ = consume other
            }
        }
    }

    @Test func givesUpOnAFullQueue() throws {
        try withDirectory { directory in
            let path = directory + "/s"
            let listener = try UnixListener(path: path, backlog: 0)
            let other = try UnixListener.connect(to: path)
            let error = try failure(of: .unix(path: path), timeout: .milliseconds(50))
            #expect(error?.name == "ETIMEDOUT")
            #expect(error?.description.hasPrefix("connect to unix:\(path): no place in the queue") == true)
            _ = consume other
            _ = consume listener
        }
    }

    // MARK: Completion

    @Test func completesAfterInitEvenIfTheAnswerIsThere() throws {
        try withLoop { loop in
            let order = Inbox<String>()
            loop.execute {
                _ = Connector(to: .unix(path: "/tmp/culvert-absent.sock"), loop: loop, timeout: .seconds(20)) { _ in
                    order.put("completion")
                }
                order.put("init")
            }
            try #expect(order.take(count: 2) == ["init", "completion"])
        }
    }

    @Test func isSilentOnceCancelled() throws {
        try withDirectory { directory in
            let listener = try TCPListener(backlog: 0)
            let others = try (0..<3).map { _ in try Transferred(listener.connect()) }
            let path = directory + "/s"
            let full = try UnixListener(path: path, backlog: 0)
            let other = try UnixListener.connect(to: path)
            let endpoints: [Endpoint] = [
                .unix(path: "/tmp/culvert-absent.sock"), .unix(path: path), .tcp(host: "127.0.0.1", port: listener.port),
                .tcp(host: "localhost", port: listener.port),
            ]
            let outcomes = Outcomes()
            try withLoop { loop in
                try loop.sync {
                    func start(_ endpoint: Endpoint) -> Connector {
                        Self.start(endpoint, loop, outcomes, timeout: .milliseconds(30))
                    }
                    let atOnce = endpoints.map(start)
                    for connector in atOnce + atOnce { connector.cancel() }
                    // The absent path would have its answer before it can be cancelled.
                    let begun = LoopBound(endpoints.dropFirst().map(start), loop: loop)
                    // Ahead of the timers of the next iteration, so not too late even if the loop stands still meanwhile.
                    loop.execute { begun.value.forEach { $0.cancel() } }
                }
                // Longer than the time they had.
                let waited = Inbox<Bool>()
                loop.execute { loop.schedule(after: .milliseconds(60)) { waited.put(true) } }
                _ = try waited.take()
            }
            #expect(outcomes.isEmpty)
            others.forEach { _ = $0.take() }
            _ = consume other
            _ = consume full
        }
    }

    // MARK: Descriptors

    /// In a process of its own, where nobody else opens descriptors.
    @Test func leaksNoDescriptors() async {
        await #expect(processExitsWith: .success) {
            func count() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
            func round() throws {
                try withDirectory { directory in
                    try withLoop { loop in
                        let outcomes = Outcomes()
                        let listeners = try loop.sync {
                            let endpoints: [Endpoint] = [
                                .unix(path: directory + "/s"), .tcp(host: "127.0.0.1", port: 0), .tcp(host: "::1", port: 0),
                            ]
                            return LoopBound(
                                try endpoints.map { try Listener(endpoint: $0, loop: loop) { _ in } }, loop: loop)
                        }
                        try loop.sync {
                            // Each fails at another step.
                            _ = try? Listener(endpoint: .unix(path: directory + "/s"), loop: loop) { _ in }
                            _ = try? Listener(endpoint: listeners.value[1].local, loop: loop) { _ in }
                            let stranger = UnixSocketOptions(owner: "no-such-user")
                            _ = try? Listener(endpoint: .unix(path: directory + "/t"), unix: stranger, loop: loop) { _ in }
                        }
                        let endpoints = try loop.sync { listeners.value.map(\.local) } + [.unix(path: directory + "/absent")]
                        loop.execute {
                            for endpoint in endpoints {
                                Self.start(endpoint, loop, outcomes)
                                Self.start(endpoint, loop, Outcomes()).cancel()
                            }
                        }
                        for outcome in try outcomes.take(count: endpoints.count) { _ = try? outcome.get().take() }
                        try loop.sync { listeners.value.forEach { $0.close() } }
                    }
                }
            }
            // The system libraries open a few that they keep, but not one a round.
            let before = try count()
            for _ in 0..<20 { try round() }
            try #expect(count() < before + 20)
        }
    }
}
