import CulvertIO
import CulvertTLS
import Foundation
import Logging

@testable import CulvertRelay

enum Side: CaseIterable {
    case a, b
    var other: Side { self == .a ? .b : .a }
}

/// What two relays are started with: `a` dials `b`, each is the other's peer.
struct PairSetup: Sendable {
    let directory: TestDirectory
    let pki: TestPKI
    var a: RelaySettings
    var b: RelaySettings
    var credentialsOfA: TLSContext
    var credentialsOfB: TLSContext
    /// Gets what both log.
    var journal: Journal?

    init() throws {
        directory = try TestDirectory()
        pki = try TestPKI(directory)
        a = relaySettings("a", directory)
        a.listen = []
        b = relaySettings("b", directory)
        a.peers = [PeerSettings(name: "b", addresses: [])]
        b.peers = [PeerSettings(name: "a", addresses: [])]
        credentialsOfA = try pki.context("a")
        credentialsOfB = try pki.context("b")
    }

    /// The same limits for both.
    mutating func limit(_ edit: (inout RelayLimits) -> Void) {
        edit(&a.limits)
        edit(&b.limits)
    }

    /// A service at the far side and a forward at the near side that leads to it.
    ///
    /// - Parameters:
    ///   - name: of the service; as the forward asks for it, it may have `/NAME`.
    ///   - target: nil if there is to be no such service.
    ///   - side: where local programs connect.
    ///   - near: where the forward listens; a UNIX socket of that name by default.
    mutating func route(
        _ name: String, to target: Endpoint?, from side: Side = .a, near: Endpoint? = nil,
        _ edit: (inout ForwardSettings) -> Void = { _ in }
    ) {
        var forward = ForwardSettings(
            listen: near ?? directory.socket("\(side)-\(name.replacing("/", with: "-"))"),
            to: ServiceReference(peer: "\(side.other)", service: name))
        edit(&forward)
        let service = target.map {
            ServiceSettings(name: String(name.prefix { $0 != "/" }), connect: $0, allow: ["\(side)"])
        }
        switch side {
        case .a:
            a.forwards.append(forward)
            if let service { b.services.append(service) }
        case .b:
            b.forwards.append(forward)
            if let service { a.services.append(service) }
        }
    }
}

/// Silence is noticed only where a test says so: two relays of a process that stands still for seconds hear nothing of each
/// other, and a peer made by hand answers no pings.
func relaySettings(_ name: String, _ directory: TestDirectory) -> RelaySettings {
    var settings = RelaySettings(name: name, listen: [PlainSocket.anyPort], runtimeDirectory: directory.path)
    settings.limits.keepalive = .seconds(300)
    return settings
}

/// A relay as tests want it: silent, unless there is a journal or CULVERT_TEST_LOG asks for its log.
func makeRelay(_ settings: RelaySettings, _ credentials: TLSContext, _ journal: Journal? = nil) throws -> Relay {
    if let journal { return try Relay(settings: settings, tls: credentials, logger: journal.logger(of: settings.name)) }
    var logger = Logger(label: settings.name) { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = ProcessInfo.processInfo.environment["CULVERT_TEST_LOG"] == nil ? .critical : .debug
    return try Relay(settings: settings, tls: credentials, logger: logger)
}

/// Two relays in this process.
struct RelayPair: Sendable {
    let a: Relay
    let b: Relay
    /// What they were started with.
    let setup: PairSetup
    /// Where local programs connect, by the name that was asked for.
    private let near: [String: Endpoint]

    var directory: TestDirectory { setup.directory }
    var pki: TestPKI { setup.pki }

    fileprivate init(_ prepared: PairSetup) async throws {
        var setup = prepared
        b = try makeRelay(setup.b, setup.credentialsOfB, setup.journal)
        try await b.start()
        do {
            if setup.a.peers[0].addresses.isEmpty { setup.a.peers[0].addresses = [try await b.port()] }
            a = try makeRelay(setup.a, setup.credentialsOfA, setup.journal)
            try await a.start()
        } catch {
            await b.stop()
            throw error
        }
        self.setup = setup
        var near: [String: Endpoint] = [:]
        for forward in await a.status().forwards + b.status().forwards {
            near[String(forward.to.dropFirst(2))] = try Endpoint(forward.listen)
        }
        self.near = near
    }

    subscript(side: Side) -> Relay { side == .a ? a : b }

    func endpoint(_ name: String) -> Endpoint { near[name]! }

    /// The TLS port of a relay.
    func port(of side: Side) async throws -> Endpoint { try await self[side].port() }

    func connect(_ name: String) async throws -> PlainSocket {
        let endpoint = endpoint(name)
        return try await onThread { try PlainSocket.connect(endpoint) }
    }

    /// Reloads `a` with other addresses of `b`.
    func dial(_ addresses: [Endpoint]) async throws {
        var settings = setup.a
        settings.peers[0].addresses = addresses
        try await a.apply(settings: settings, tls: setup.credentialsOfA)
    }

    /// Opens a forward of `a` to `service` of `b`, and removes it however `body` ends.
    func withForward<Value>(
        to service: String, _ edit: (inout ForwardSettings) -> Void = { _ in },
        run body: (_ near: Endpoint, _ id: String) async throws -> Value
    ) async throws -> Value {
        var settings = ForwardSettings(
            listen: PlainSocket.anyPort, to: ServiceReference(peer: "b", service: service))
        edit(&settings)
        let forward = try await a.addForward(settings)
        do {
            let value = try await body(try Endpoint(forward.listen), forward.id)
            try? await a.removeForward(forward.id)
            return value
        } catch {
            try? await a.removeForward(forward.id)
            throw error
        }
    }

    func stop() async {
        await a.stop()
        await b.stop()
    }

    /// Waits until a session stands; `b` cannot make one itself.
    func connected() async throws {
        try await eventually("a and b are connected") {
            let (a, b) = await (a.status().peer("b"), b.status().peer("a"))
            return a?.isConnected == true && b?.isConnected == true
        }
    }

    /// Streams that either relay has now.
    func streams() async -> [StreamStatus] { await a.status().streams + b.status().streams }

    /// Waits until no stream is left, and with them no memory.
    /// - Parameter meanwhile: has whatever is left come to its end.
    func settle(within limit: Duration = .seconds(patience), meanwhile: () async throws -> Void = {}) async throws {
        var left = ""
        try await eventually("no stream is left, nor its memory: \(left)", within: limit) {
            try await meanwhile()
            let (a, b) = await (a.status(), b.status())
            left = "\(a.memory) and \(b.memory) bytes; \(a.streams); \(b.streams)"
            return a.streams.isEmpty && b.streams.isEmpty && a.memory == 0 && b.memory == 0
        }
    }
}

/// Starts two relays, and stops them however `body` ends.
func withPair(
    _ prepare: (inout PairSetup) throws -> Void = { _ in }, run body: (RelayPair) async throws -> Void
) async throws {
    var setup = try PairSetup()
    try prepare(&setup)
    let pair = try await RelayPair(setup)
    do {
        try await body(pair)
    } catch {
        await pair.stop()
        throw error
    }
    await pair.stop()
}

/// Starts two relays of which `b` has a service `echo` and `a` a forward to it.
func withEchoPair(
    _ prepare: (inout PairSetup) throws -> Void = { _ in }, run body: (RelayPair) async throws -> Void
) async throws {
    let echo = try Target.echo()
    try await withPair { setup in
        setup.route("echo", to: echo.endpoint)
        try prepare(&setup)
    } run: { pair in
        try await body(pair)
    }
}

/// Starts one relay, and stops it however `body` ends.
func withRelay(
    _ settings: RelaySettings, _ credentials: TLSContext, run body: (Relay) async throws -> Void
) async throws {
    let relay = try makeRelay(settings, credentials)
    try await relay.start()
    do {
        try await body(relay)
    } catch {
        await relay.stop()
        throw error
    }
    await relay.stop()
}
