import CulvertIO
import CulvertProtocol
import CulvertTLS
import Glibc
import Logging
import Synchronization

/// Something the relay was asked to do and cannot; the text names the thing, the cause and the next step.
public struct RelayError: Error, Sendable, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// One relay: its loops, its TLS port, its peers, services and forwards.
///
/// Knows who lives on which loop and passes orders on; all work is done there. Orders that change the whole (`start`,
/// `apply`, `drain`) are given one after the other; `stop` may come at any time.
public final class Relay: Sendable {
    struct State {
        var settings: RelaySettings
        var environment: RelayEnvironment
        var forwards: [String: ForwardHandle] = [:]
        var lastForward = 0
        var lastLoop = 0
        var isDraining = false
        var isStopped = false
    }

    private let loops: [EventLoop]
    private let acceptor: LoopBound<Acceptor>
    private let started = EventLoop.monotonicNow
    let peers: Directory
    let state: Mutex<State>

    public init(settings: RelaySettings, tls: TLSContext, logger: Logger) throws(RelayError) {
        let environment = RelayEnvironment(
            relayName: settings.name, limits: settings.limits, services: ServiceTable(settings.services), tls: tls,
            memory: MemoryBudget(limit: settings.limits.relayMemory), logger: logger)
        do throws(IOError) {
            loops = try (0..<max(1, settings.loops)).map { index throws(IOError) in
                try EventLoop(name: "culvert-\(index)")
            }
        } catch {
            throw RelayError(error.description)
        }
        let peers = Directory()
        self.peers = peers
        acceptor = LoopBound(
            Acceptor(environment: environment, loop: loops[0]) { peers.admit($1, named: $0) }, loop: loops[0])
        state = Mutex(State(settings: settings, environment: environment))
        for loop in loops { loop.start() }
    }

    // MARK: Orders

    /// Opens every listener; on an error nothing stays open.
    public func start() async throws(RelayError) {
        let (settings, environment) = state.withLock { ($0.settings, $0.environment) }
        do throws(RelayError) {
            for peer in settings.peers { await add(peer, environment) }
            try await listen(at: settings.listen, environment)
            for forward in settings.forwards { _ = try await open(forward, origin: .config) }
        } catch {
            await stop()
            throw error
        }
    }

    /// Takes new settings and credentials without touching live streams; on an error nothing changes. What a peer asks for
    /// after the return is judged by the new ones.
    public func apply(settings: RelaySettings, tls: TLSContext) async throws(RelayError) {
        let (old, environment) = state.withLock { state in
            var environment = state.environment
            environment.limits = settings.limits
            environment.services = ServiceTable(settings.services)
            environment.tls = tls
            return (state.settings, environment)
        }
        guard settings.name == old.name, settings.loops == old.loops,
            settings.limits.relayMemory == old.limits.relayMemory
        else { throw RelayError("relay.name, relay.loops and limits.relay-memory only change with a restart") }

        // What can fail comes first, and is taken back if it does.
        let known = peers.names
        let added = settings.peers.filter { !known.contains($0.name) }
        for peer in added { await add(peer, environment) }
        do throws(RelayError) {
            try await replaceForwards(with: settings.forwards)
            do throws(RelayError) {
                try await listen(at: settings.listen, environment)
            } catch {
                try? await replaceForwards(with: old.forwards)
                throw error
            }
        } catch {
            for peer in added { await retire(peer.name) }
            throw error
        }
        state.withLock { state in
            state.settings = settings
            state.environment = environment
        }
        for name in known.subtracting(settings.peers.map(\.name)) { await retire(name) }
        for settings in settings.peers {
            guard var entry = peers[settings.name] else { continue }
            entry.identity = settings.identity
            peers[settings.name] = entry
            let peer = entry.peer
            _ = await entry.loop.run { peer.value.update(settings: settings, environment: environment) }
        }
    }

    /// Takes no new streams, tells peers so, waits for streams to finish, then stops.
    /// - Returns: how many streams it had to cut.
    public func drain(within limit: Duration) async -> Int {
        state.withLock { $0.isDraining = true }
        await closeListeners()
        let entries = peers.all
        let cut = await withTaskGroup(of: Int.self) { group in
            for entry in entries { group.addTask { await Self.drain(entry, within: limit) } }
            return await group.reduce(0, +)
        }
        await stop()
        return cut
    }

    private static func drain(_ entry: Directory.Entry, within limit: Duration) async -> Int {
        await withCheckedContinuation { continuation in
            let accepted = entry.loop.execute {
                entry.peer.value.drain("this relay is shutting down", within: limit) {
                    continuation.resume(returning: $0)
                }
            }
            if !accepted { continuation.resume(returning: 0) }
        }
    }

    /// Closes everything at once. Idempotent.
    public func stop() async {
        let isFirst = state.withLock { state in
            defer { state.isStopped = true }
            return !state.isStopped
        }
        guard isFirst else { return }
        await closeListeners()
        for entry in peers.all { _ = await entry.loop.run { entry.peer.value.stop("this relay stopped") } }
        let loops = loops
        await withCheckedContinuation { continuation in
            // Waits for threads, so it must not hold one of the concurrency runtime's.
            runOnThread {
                for loop in loops { loop.stop() }
                continuation.resume()
            }
        }
    }

    // MARK: Parts

    private func add(_ settings: PeerSettings, _ environment: RelayEnvironment) async {
        let rotated = state.withLock { state in
            // The first loop has the TLS port's handshakes, so it is the last to get a peer.
            state.lastLoop = (state.lastLoop + 1) % loops.count
            return Array(loops[state.lastLoop...] + loops[..<state.lastLoop])
        }
        let loop = rotated[0]
        let peer = await loop.run {
            LoopBound(Peer(settings: settings, environment: environment, loops: rotated), loop: loop)
        }
        peers[settings.name] = peer.map { Directory.Entry(loop: loop, peer: $0, identity: settings.identity) }
    }

    /// The peer is no longer configured: its streams may finish, its forwards go.
    private func retire(_ name: String) async {
        guard let (number, entry) = peers.retire(name) else { return }
        for (id, handle) in state.withLock({ $0.forwards }) where handle.settings.to.peer == name {
            try? await removeForward(id)
        }
        let peers = peers
        _ = await entry.loop.run {
            entry.peer.value.drain("it was removed from the configuration", within: nil) { _ in peers.forget(number) }
        }
    }

    private func listen(at endpoints: [Endpoint], _ environment: RelayEnvironment) async throws(RelayError) {
        let acceptor = acceptor
        let result = await loops[0].run { () -> Result<Void, IOError> in
            Result { () throws(IOError) in try acceptor.value.listen(at: endpoints, environment) }
        }
        if case .failure(let error) = result { throw RelayError(error.description) }
    }

    private func closeListeners() async {
        let acceptor = acceptor
        _ = await loops[0].run { acceptor.value.close() }
        for id in state.withLock({ Array($0.forwards.keys) }) { try? await removeForward(id) }
    }

    // MARK: Status

    public func status() async -> RelayStatus {
        let (settings, memory, draining) = state.withLock { ($0.settings, $0.environment.memory, $0.isDraining) }
        let acceptor = acceptor
        let port = await loops[0].run { (listen: acceptor.value.addresses, refused: acceptor.value.refused) }
        var peerStatuses: [PeerStatus] = []
        for entry in peers.all {
            if let status = await entry.loop.run({ entry.peer.value.status }) { peerStatuses.append(status) }
        }
        peerStatuses.sort { $0.name < $1.name }
        return RelayStatus(
            name: settings.name, version: culvertVersion, uptime: Double(EventLoop.monotonicNow - started) / 1e9,
            listen: port?.listen ?? [], draining: draining, peers: peerStatuses, forwards: await forwards(),
            services: settings.services.map {
                ServiceStatus(name: $0.name, connect: $0.connect.description, allow: $0.allow)
            },
            refused: port?.refused ?? [:], memory: memory.used)
    }
}

/// Runs `body` on a thread of its own.
private func runOnThread(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Transferred(body))
    var thread = pthread_t()
    let result = pthread_create(&thread, nil, { context in
        Unmanaged<Transferred<@Sendable () -> Void>>.fromOpaque(context!).takeRetainedValue().take()()
        return nil
    }, box.toOpaque())
    precondition(result == 0, "pthread_create: \(result)")
    pthread_detach(thread)
}
