import CulvertIO
import CulvertRelay
import Foundation
import Testing

@testable import CulvertDaemon

/// The real server on a real socket, with a relay behind it that only remembers.
@Suite(.timeLimit(.minutes(5))) struct AdminServerTests {
    private let directory: TemporaryDirectory
    private let relay = FakeRelay()
    private var path: String { directory("admin.sock") }

    init() throws {
        directory = try TemporaryDirectory()
    }

    private func makeServer(_ path: String? = nil) -> AdminServer {
        AdminServer(
            path: path ?? self.path, control: relay, runtimeDirectory: directory.path,
            logger: LogOutput(settings: LogSettings(level: .critical)).logger())
    }

    /// Runs `body` off the concurrency pool: the client blocks.
    private func serving<Result: Sendable>(_ body: @escaping @Sendable (AdminClient) throws -> Result) async throws
        -> Result
    {
        let server = makeServer()
        try await server.start()
        let client = AdminClient(path: path, timeout: 60)
        let result: Swift.Result<Result, any Error> = await withCheckedContinuation { continuation in
            Thread { continuation.resume(returning: Swift.Result { try body(client) }) }.start()
        }
        await server.stop()
        return try result.get()
    }

    @Test func statusArrivesAsItIs() async throws {
        #expect(try await serving { try $0.status() } == .sample)
    }

    @Test func socketIsForOwnerAndGroupAndGoesAway() async throws {
        let server = makeServer()
        try await server.start()
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o660)
        await server.stop()
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [])
    }

    @Test func forwardsAreAddedListedRenewedAndRemoved() async throws {
        let listen = "unix:\(directory("sub/f.sock"))"
        try await serving { client in
            var request = ForwardRequest(to: "hostb/web1", listen: listen)
            request.lease = "30s"
            request.mode = "0600"
            request.priority = "control"
            let added = try client.addForward(request)
            #expect(added.listen == listen)
            #expect(try client.forwards().map(\.id) == ["f1", "f9"])
            #expect(try client.forward(id: "f9") == added)
            #expect(try client.renewForward(id: "f9") == added)
            try client.removeForward(id: "f9")
            #expect(try client.forwards().map(\.id) == ["f1"])
        }
        var expected = ForwardSettings(
            listen: .unix(path: directory("sub/f.sock")), to: ServiceReference(peer: "hostb", service: "web1"))
        expected.lease = .seconds(30)
        expected.unix.mode = 0o600
        expected.priority = .control
        #expect(relay.forwardsAdded == [expected])
        #expect(relay.forwardsRenewed == ["f9"])
        #expect(FileManager.default.fileExists(atPath: directory("sub")), "the forward's directory is made")
    }

    @Test func relayChoosesDistinctSocketsForOnceForwards() async throws {
        try await serving { client in
            var request = ForwardRequest(to: "hostb/web1")
            request.once = true
            _ = try client.addForward(request)
            request.listen = "unix:"
            _ = try client.addForward(request)
        }
        let paths = relay.forwardsAdded.map(\.listen.address)
        #expect(paths.count == 2 && paths[0] != paths[1])
        #expect(paths.allSatisfy { $0.hasPrefix(directory("once-")) && $0.utf8.count <= Endpoint.longestUnixPath })
        #expect(relay.forwardsAdded.allSatisfy { $0.once && $0.unix.mode == 0o660 })
    }

    struct Refusal: Sendable, CustomTestStringConvertible {
        var method: String
        var path: String
        var body = ""
        var status: Int
        var error: String
        var testDescription: String { "\(method) \(path) \(body.prefix(40))" }
    }

    @Test(arguments: [
        Refusal(method: "GET", path: "/", status: 404, error: "there is no /"),
        Refusal(method: "GET", path: "/v2/status", status: 404, error: "there is no /v2/status"),
        Refusal(method: "GET", path: "/v1/forwards/f1/x", status: 404, error: "there is no /v1/forwards/f1/x"),
        Refusal(method: "PUT", path: "/v1/status", status: 405, error: "/v1/status takes GET, not PUT"),
        Refusal(method: "DELETE", path: "/v1/forwards", status: 405, error: "/v1/forwards takes GET, POST, not DELETE"),
        Refusal(method: "GET", path: "/v1/forwards/f7", status: 404, error: "there is no forward 'f7'"),
        Refusal(method: "DELETE", path: "/v1/forwards/f7", status: 404, error: "there is no forward 'f7'"),
        Refusal(method: "POST", path: "/v1/forwards/f7/renew", status: 404, error: "there is no forward 'f7'"),
        .post("", 400, "the body is not JSON"),
        .post("{", 400, "the body is not JSON"),
        .post("[]", 400, "the body is not a JSON object"),
        .post("{}", 400, "'to' is missing"),
        .post(#"{"to":"hostb/x","lissten":"unix:/x"}"#, 400, "unknown key 'lissten'; did you mean 'listen'?"),
        .post(#"{"to":"hostb/x"}"#, 400, "'listen' is missing; only a once forward may leave it to the relay"),
        .post(
            #"{"to":"hostb/x","once":"yes"}"#, 400,
            "'once' has the wrong type; 'once' is true or false, everything else a string"),
        .post(#"{"to":"hostb","once":true}"#, 400, "to: 'hostb' is not PEER/SERVICE or PEER/SERVICE/NAME"),
        .post(
            #"{"to":"hostb/x/../y","once":true}"#, 400, "to: 'hostb/x/../y': it has more parts than PEER/SERVICE/NAME"),
        .post(
            #"{"to":"hostb/x","listen":"/x"}"#, 400, "listen: '/x': starts with neither unix: nor tcp:"),
        .post(
            #"{"to":"hostb/x","once":true,"lease":"30"}"#, 400,
            "lease: '30' has no unit; write one of ms, s, m, h, as in 30s"),
        .post(
            #"{"to":"hostb/x","once":true,"lease":"0s"}"#, 400, "lease: 0s is out of range; it goes from 1s to 24h"),
        .post(
            #"{"to":"hostb/x","once":true,"mode":"rw"}"#, 400,
            "mode: 'rw' is not a mode; write three octal digits, as in \"0660\""),
        .post(#"{"to":"hostb/x","once":true,"priority":"high"}"#, 400, "priority: 'high' is not one of auto, control"),
        .post(#"{"to":"hostz/x","once":true}"#, 409, "no peer 'hostz'; the configuration has hostb"),
        .post(#"{"to":""# + String(repeating: "x", count: 70_000) + #""}"#, 413, "the body is larger than 65536 bytes"),
        .post(String(repeating: " ", count: 4 << 20), 413, "the body is larger than 65536 bytes"),
    ])
    func refusalsSayWhy(refusal: Refusal) async throws {
        let error = await #expect(throws: AdminClientError.self) {
            try await serving { try $0.request(refusal.method, refusal.path, body: Data(refusal.body.utf8)) }
        }
        #expect(error == AdminClientError(status: refusal.status, refusal.error))
        #expect(relay.forwardsAdded.isEmpty)
    }

    @Test func metricsArePlainText() async throws {
        let text = try await serving { String(decoding: try $0.request("GET", "/metrics"), as: UTF8.self) }
        #expect(text == Metrics.text(.sample))
    }

    @Test func garbageEndsOnlyItsConnection() async throws {
        let path = path
        try await serving { client in
            let descriptor = try UnixSocket.connect(path)
            defer { close(descriptor) }
            let garbage = Array("\u{16}\u{03}\u{01} not http\r\n\r\n".utf8)
            #expect(send(descriptor, garbage, garbage.count, Int32(MSG_NOSIGNAL)) == garbage.count)
            _ = try client.status()
        }
    }

    // MARK: The place of the socket

    @Test func staleSocketIsReplaced() async throws {
        let server = makeServer()
        try await server.start()
        // A listener that dies leaves its file behind.
        #expect(link(path, directory("stale.sock")) == 0)
        await server.stop()
        let second = makeServer(directory("stale.sock"))
        try await second.start()
        #expect(UnixSocket.occupant(of: directory("stale.sock")) == .live)
        await second.stop()
    }

    @Test func liveSocketIsAnError() async throws {
        let server = makeServer()
        try await server.start()
        await #expect(
            throws: DaemonError("another relay answers at \(path); stop it, or give this one its own relay.admin")
        ) { try await makeServer().start() }
        #expect(UnixSocket.occupant(of: path) == .live)
        await server.stop()
    }

    @Test func otherFileIsAnError() async throws {
        try Data("precious".utf8).write(to: URL(fileURLWithPath: path))
        await #expect(
            throws: DaemonError(
                "cannot make the admin socket \(path): it is not a socket; remove it, or choose another relay.admin")
        ) { try await makeServer().start() }
        #expect(FileManager.default.fileExists(atPath: path))
    }

    @Test func missingDirectoryIsAnError() async throws {
        let error = await #expect(throws: DaemonError.self) { try await makeServer("/nonexistent/admin.sock").start() }
        #expect(error?.description.contains("/nonexistent/admin.sock") == true)
    }

    @Test func longestPathWorks() async throws {
        let name = String(repeating: "x", count: AdminServer.longestPath - directory.path.utf8.count - 1)
        let server = makeServer(directory(name))
        try await server.start()
        #expect(UnixSocket.occupant(of: directory(name)) == .live)
        await server.stop()
    }
}

extension AdminServerTests.Refusal {
    static func post(_ body: String, _ status: Int, _ error: String) -> Self {
        Self(method: "POST", path: "/v1/forwards", body: body, status: status, error: error)
    }
}
