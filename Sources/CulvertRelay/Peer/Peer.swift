import CulvertIO
import CulvertProtocol
import Logging

/// A remote relay: its sessions, the streams to and from it, and the local connections that wait for a session.
/// Lives on one loop, with its forwards and all their sockets; only the work of further lanes is done by other loops.
final class Peer {
    let name: String
    let loop: EventLoop
    /// All of the relay, this peer's first: lanes of one session spread over them.
    let loops: [EventLoop]
    let pool = ChunkPool()
    private(set) var settings: PeerSettings
    private(set) var environment: RelayEnvironment
    private(set) var sessions: [LiveSession] = []
    /// Connections of the peer that have not said HELLO.
    private(set) var newcomers: [Newcomer] = []
    private let targets: TargetQueue
    /// Takes connections that carry a stream past its session, by what the peer will call them.
    private var expected: [SessionID: (SecuredConnection) -> Void] = [:]
    /// One for each lane that this relay strives for; the first also makes the session.
    private(set) var diallers: [Dialler] = []
    private var waiting: [WaitingConnection] = []
    /// Why it takes no new streams, once it does not.
    private var farewell: String?
    private var whenIdle: ((Int) -> Void)?
    private var drainLimit: TimerHandle?
    /// Streams cut because they did not finish in time.
    private var cut = 0
    private var sampling: TimerHandle?

    private var lastError: String?
    private var streamsOpened: UInt64 = 0
    private var streamsReset: UInt64 = 0
    private var pastSent: UInt64 = 0
    private var pastReceived: UInt64 = 0
    private var pastSpliced: (sent: UInt64, received: UInt64) = (0, 0)

    /// A local connection that has no session to go to yet, or comes behind others that are being opened on an older one.
    private final class WaitingConnection {
        var descriptor: Descriptor?
        let forward: Forward

        init(_ descriptor: consuming Descriptor, _ forward: Forward) {
            self.descriptor = consume descriptor
            self.forward = forward
        }
    }

    /// - Parameter loops: the relay's; it lives on the first one.
    init(settings: PeerSettings, environment: RelayEnvironment, loops: [EventLoop]) {
        name = settings.name
        self.settings = settings
        self.environment = environment
        loop = loops[0]
        self.loops = loops
        targets = TargetQueue(loop: loop)
        adjustDiallers()
        diallers.first?.dial()
        sample()
    }

    var logger: Logger {
        var logger = environment.logger
        logger[metadataKey: "peer"] = "\(name)"
        return logger
    }

    func update(settings: PeerSettings, environment: RelayEnvironment) {
        let old = self.settings
        self.settings = settings
        self.environment = environment
        if settings.identity != old.identity {
            // Who was let in under the old name opens nothing more.
            for session in sessions { session.drain(.draining, "the peer's identity changed") }
        }
        for session in sessions { session.settingsChanged() }
        guard settings != old, farewell == nil else { return }
        adjustDiallers()
        if settings.addresses != old.addresses { for dialler in diallers { dialler.addressesChanged() } }
        if usable != nil {
            dialFurtherLanes()
        } else if !isConnecting {
            if let dialler = diallers.first { dialler.dial() } else { failWaiting(nobodyDials) }
        }
    }

    /// Has a dialler for each lane that is to be, and closes further lanes that are no longer. The first one stays with its
    /// streams, also if the peer is not to be dialled any more.
    private func adjustDiallers() {
        let count = settings.addresses.isEmpty ? 0 : settings.lanes
        while diallers.count < count { diallers.append(Dialler(peer: self, number: diallers.count)) }
        while diallers.count > count {
            let dialler = diallers.removeLast()
            dialler.stop()
            guard dialler.number > 0 else { return }
            for session in sessions { session.closeLane(of: dialler) }
        }
    }

    // MARK: Sessions

    /// Sessions that one peer may have at once. Two are ordinary for a moment, when both relays dial.
    private static let mostSessions = 8
    /// Sessions made within this time of each other were dialled by both relays at once.
    private static let simultaneous = Duration.seconds(5)
    /// Connections that may be there before their HELLO.
    private static let mostNewcomers = 32
    /// Local connections that may wait for a session.
    private static let mostWaiting = 1024

    /// The session that new streams go to: the youngest that takes any.
    private var usable: LiveSession? { sessions.last { $0.isUsable } }

    /// A session is being made, so that there is something to wait for.
    private var isConnecting: Bool { diallers.first?.isTrying ?? false || sessions.contains { !$0.isEstablished } }

    /// Takes a connection that the peer made.
    func admit(_ connection: SecuredConnection) {
        // Found while the peer was there, and come when it was not.
        guard isStaying || !sessions.isEmpty else {
            return logger.notice("connection from \(connection.remote) closed: \(farewell ?? "")")
        }
        if newcomers.count >= Self.mostNewcomers { newcomers.first?.cancel() }
        do {
            newcomers.append(try Newcomer(connection, peer: self))
        } catch {
            logger.error("connection from \(connection.remote) closed: \(error)")
        }
    }

    /// Whether who has proved an identity there is this peer.
    func isOtherEnd(of connection: SecuredConnection) -> Bool { isNamed(in: connection.engine.peer.names) }

    /// Whether who has proved these names is this peer.
    func isNamed(in names: [String]) -> Bool { names.contains(settings.identity.lowercased()) }

    /// A connection of the peer came to nothing.
    func refused(_ lane: DirectLane, _ text: String) {
        lastError = text
        logger.warning("connection from \(lane.remote) closed: \(text)")
    }

    func forget(_ newcomer: Newcomer) { newcomers.removeAll { $0 === newcomer } }

    /// The session that the peer's connection is for.
    func host(_ hello: Hello) throws(ProtocolViolation) -> LiveSession {
        if hello.lane > 0 {
            guard let session = sessions.first(where: { $0.session.id == hello.session && !$0.dialled && !$0.isOver }) else {
                throw ProtocolViolation(
                    code: .unknownSession, "\(environment.relayName) knows no session \(hello.session): it restarted, or gave it up")
            }
            return session
        }
        if let farewell { throw ProtocolViolation(code: .draining, farewell) }
        guard sessions.count < Self.mostSessions else { throw ProtocolViolation("more than \(Self.mostSessions) sessions") }
        return makeSession(dialled: false)
    }

    /// Takes a connection that this relay made.
    func adopt(_ connection: SecuredConnection, by dialler: Dialler) {
        if let session = sessionWithout(dialler) {
            session.join(connection, dialler: dialler)
        } else if dialler.number == 0, farewell == nil, usable == nil, sessions.count < Self.mostSessions {
            makeSession(dialled: true).join(connection, dialler: dialler)
        }
    }

    /// A session that wants a lane of this dialler; one that has none at all comes first.
    private func sessionWithout(_ dialler: Dialler) -> LiveSession? {
        let wanting = sessions.filter { $0.wantsLane(of: dialler) }
        return wanting.last { $0.isDetached } ?? wanting.last
    }

    private func makeSession(dialled: Bool) -> LiveSession {
        let budget = MemoryBudget(limit: environment.limits.sessionMemory, within: environment.memory)
        let session = LiveSession(dialled: dialled, peer: self, budget: budget)
        sessions.append(session)
        return session
    }

    private func dialFurtherLanes() {
        for dialler in diallers where sessionWithout(dialler) != nil { dialler.dial() }
    }

    /// A further lane is in use.
    func joined(_ link: LaneLink) {
        lastError = nil
        guard let dialler = link.dialler else { return }
        dialler.succeeded(resumed: true)
        // Another session may have lost a lane meanwhile, or wait to be made.
        if sessionWithout(dialler) != nil || dialler.number == 0 && usable == nil && !waiting.isEmpty { dialler.dial() }
    }

    /// The session goes on, with a lane less.
    func laneLost(_ link: LaneLink, of session: LiveSession) {
        if session.isDetached { lastError = "the connection was lost; streams wait for another" }
        guard let dialler = link.dialler, farewell == nil || !session.legs.isEmpty, diallers.contains(where: { $0 === dialler })
        else { return }
        dialler.lost(after: loop.now - link.made)
    }

    func established(_ session: LiveSession, _ hello: Hello) {
        lastError = nil
        if session.dialled {
            diallers.first?.succeeded(resumed: false)
        } else if !sessions.contains(where: { $0.dialled && $0.isDetached }) {
            diallers.forEach { $0.stop() }
        }
        retireDuplicates(of: session, peerName: hello.name)
        dialFurtherLanes()
        openWaiting()
    }

    /// One session is enough. Of two that were dialled at once, both relays keep the one that the relay with the lesser
    /// name made; else the newer one, for whoever dialled it has given up the older.
    private func retireDuplicates(of session: LiveSession, peerName: String) {
        let lesserDials = environment.relayName < peerName
        for other in sessions where other !== session && other.isUsable {
            // It would not have, if it could still use the old one.
            if other.isDetached, !session.dialled {
                other.end(.sessionLost, "\(name) made a new session: its relay restarted, or gave the old one up")
                continue
            }
            let atOnce = session.made - min(other.made, session.made) < Self.simultaneous.nanoseconds
            let loser = atOnce && other.dialled != session.dialled && other.dialled == lesserDials ? session : other
            loser.drain(.superseded, "another session is used")
        }
    }

    func ended(_ session: LiveSession, code: ResetCode, _ text: String) {
        sessions.removeAll { $0 === session }
        if code == .shutdown {
            session.logger.info("session ended: \(text)")
        } else {
            session.logger.error("session lost: \(text)")
            lastError = text
        }
        if farewell != nil {
            idleIfSo()
        } else if usable == nil {
            // One that the peer never answered has shown nothing, however long that took.
            diallers.first?.lost(after: session.isEstablished ? loop.now - session.made : 0)
            for dialler in diallers.dropFirst() where sessionWithout(dialler) == nil { dialler.stop() }
            if !isConnecting { failWaiting(text) }
        } else {
            // Some may have been made for this one.
            dialFurtherLanes()
            openWaiting()
        }
    }

    /// - Parameter refusedFor: nanoseconds for which its host has been there and its relay not.
    func dialFailed(_ text: String, refusedFor: UInt64) {
        if let session = sessions.first(where: { $0.isDetached && $0.dialled }) {
            lastError = text
            logger.warning("still no connection to \(name): \(text)")
            // A relay that is only being restarted would not know the session either.
            if refusedFor >= environment.limits.sessionTimeout.nanoseconds / 5 * 2 {
                session.end(.sessionLost, "\(name)'s relay is gone: \(text)")
            }
            return
        }
        lastError = text
        logger.warning("cannot reach \(name): \(text)")
        if usable == nil, !isConnecting { failWaiting(text) }
    }

    // MARK: Streams

    /// Leads a local connection to the peer's service, on a session that exists or is made now.
    func connect(_ descriptor: consuming Descriptor, through forward: Forward) {
        if let session = usable, mayOpen(forward, on: session) {
            open(descriptor, forward, on: session)
        } else if let farewell {
            refuse(forward, ResetReason(.shutdown, farewell))
        } else if usable == nil && !isConnecting && settings.addresses.isEmpty {
            refuse(forward, ResetReason(.sessionLost, nobodyDials))
        } else if waiting.count == Self.mostWaiting {
            refuse(forward, ResetReason(.refused, "\(waiting.count) connections wait for a session with \(name)"))
        } else {
            waiting.append(WaitingConnection(descriptor, forward))
            if usable == nil, !isConnecting { diallers.first?.dial() }
        }
    }

    /// Sessions have connections of their own, and who is asked for a service twice has to hear of it in order.
    private func mayOpen(_ forward: Forward, on session: LiveSession) -> Bool {
        let service = forward.settings.to.service
        return !waiting.contains { $0.forward.settings.to.service == service }
            && !sessions.contains { $0 !== session && $0.isOpening(service) }
    }

    /// Opens what has waited, as far as there is a session for it.
    func openWaiting() {
        guard !waiting.isEmpty, let usable else { return }
        for connection in takeWaiting() {
            if mayOpen(connection.forward, on: usable) {
                open(connection.descriptor.take()!, connection.forward, on: usable)
            } else {
                waiting.append(connection)
            }
        }
    }

    private var nobodyDials: String { "\(name) is not connected, and peers.\(name).addresses is empty: it has to dial us" }

    private func open(_ descriptor: consuming Descriptor, _ forward: Forward, on live: LiveSession) {
        guard live.session.canOpen else {
            return refuse(forward, ResetReason(.refused, "\(name) lets no more streams be open at once"))
        }
        let stream = live.session.open(
            service: forward.settings.to.service, priority: forward.settings.priority == .control ? .control : .auto,
            now: loop.now)
        streamsOpened += 1
        let leg = Leg(stream, owner: live, forward: forward)
        live.add(leg)
        leg.attach(descriptor)
        live.attend()
    }

    /// The local connection is closed; the forward remembers why.
    private func refuse(_ forward: Forward, _ reason: ResetReason) {
        logger.warning("connection to \(forward.endpoint) closed: \(reason.text)")
        streamsReset += 1
        forward.ended(nil, reason, remote: false)
    }

    private func takeWaiting() -> [WaitingConnection] {
        defer { waiting = [] }
        return waiting
    }

    private func failWaiting(_ text: String) {
        for connection in takeWaiting() {
            refuse(connection.forward, ResetReason(.sessionLost, "no session with \(name): \(text)"))
        }
    }

    /// The peer asks for a service here.
    func opened(_ stream: SessionStream, on live: LiveSession) {
        streamsOpened += 1
        let leg = Leg(stream, owner: live, forward: nil)
        live.add(leg)
        do {
            switch try environment.services.resolve(stream.service, for: name) {
            case .endpoint(let target):
                leg.connect(to: target, through: targets, timeout: environment.limits.connectTimeout)
            case .answer(let text):
                leg.attach(try Self.socketSaying(text))
            case .bypass:
                try live.takeNotes(of: leg)
            }
        } catch let refusal as ServiceRefusal {
            leg.abort(refusal.reason, remote: false)
        } catch {
            leg.abort(ResetReason(.internalError, "\(error)"), remote: false)
        }
    }

    /// A socket from which `text` can be read, and then its end.
    private static func socketSaying(_ text: String) throws(IOError) -> Descriptor {
        let pair = try Descriptor.pair()
        // A fresh socket's buffer takes a line whole.
        _ = Array(text.utf8).withUnsafeBytes { pair.second.write($0) }
        return pair.first
    }

    func streamEnded(_ leg: Leg, _ reason: ResetReason?, remote: Bool) {
        if reason != nil { streamsReset += 1 }
        pastSent += leg.bytesSent
        pastReceived += leg.bytesReceived
        pastSpliced.sent += leg.spliced.sent
        pastSpliced.received += leg.spliced.received
        if leg.forward == nil, let path = environment.services.namedSocket(leg.stream.service, for: name) {
            // A NAME may never be asked for again, so nobody else would find the file of a process that died with its
            // stream. It gets a moment to die in.
            loop.schedule(after: .seconds(2)) { StaleSocket.remove(path) }
        }
    }

    // MARK: Past the session

    /// Waits for a connection of the peer's that names this token.
    func expect(_ token: SessionID, _ take: @escaping (SecuredConnection) -> Void) { expected[token] = take }

    func forget(_ token: SessionID) { expected[token] = nil }

    func attach(_ connection: SecuredConnection, _ attach: Attach) {
        guard let take = expected.removeValue(forKey: attach.token) else {
            return logger.warning("connection from \(connection.remote) closed: it is for a stream that nobody waits for")
        }
        take(connection)
    }

    // MARK: End

    var isStaying: Bool { farewell == nil }

    /// Lets streams finish and takes no new ones; what is left after `limit`, if there is one, is cut.
    /// - Parameter whenIdle: called once there is no session left, with the number of streams that were cut.
    func drain(_ text: String, within limit: Duration?, whenIdle: @escaping (Int) -> Void) {
        self.whenIdle = whenIdle
        retireDialler(text)
        drainLimit = limit.map { loop.schedule(after: $0) { [self] in stop(text) } }
        for session in sessions { session.drain(.draining, text) }
        idleIfSo()
    }

    /// Ends every session at once.
    func stop(_ text: String) {
        retireDialler(text)
        stopDialling()
        cut += sessions.reduce(0) { $0 + $1.legs.count }
        for session in sessions { session.end(.shutdown, text) }
    }

    private func retireDialler(_ text: String) {
        farewell = text
        // Streams that may finish may need a connection for that.
        if !sessions.contains(where: \.isDetached) { diallers.forEach { $0.stop() } }
        newcomers.forEach { $0.cancel() }
        if let sampling = sampling.take() { loop.cancel(sampling) }
        failWaiting(text)
    }

    private func stopDialling() {
        diallers.forEach { $0.stop() }
        diallers = []
    }

    private func idleIfSo() {
        guard sessions.isEmpty, let whenIdle = whenIdle.take() else { return }
        if let drainLimit = drainLimit.take() { loop.cancel(drainLimit) }
        // Nobody may hold this peer from now on, and these would go on by themselves.
        stopDialling()
        newcomers.forEach { $0.cancel() }
        whenIdle(cut)
    }

    // MARK: Status

    /// Measures the rates of all streams, every second.
    private func sample() {
        sampling = loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self else { return }
            for session in sessions { session.legs.values.forEach { $0.sample(seconds: 1) } }
            pool.rest()
            sample()
        }
    }

    var status: PeerStatus {
        let live = sessions.flatMap(\.legs.values)
        return PeerStatus(
            name: name, addresses: settings.addresses.map(\.address), sessions: sessions.map(\.status),
            lastError: lastError, streamsOpened: streamsOpened, streamsReset: streamsReset,
            bytesSent: live.reduce(pastSent) { $0 + $1.bytesSent },
            bytesReceived: live.reduce(pastReceived) { $0 + $1.bytesReceived },
            splicedSent: live.reduce(pastSpliced.sent) { $0 + $1.spliced.sent },
            splicedReceived: live.reduce(pastSpliced.received) { $0 + $1.spliced.received })
    }
}
