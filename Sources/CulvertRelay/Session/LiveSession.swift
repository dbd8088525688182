import CulvertCompression
import CulvertIO
import CulvertProtocol
import Logging

/// A session on its loop: binds the protocol core to lanes and to local sockets.
///
/// Whatever happens marks the session for attention; `run` then does all that follows from it once, at the end of the
/// loop's iteration: receive, events, transmit, timer.
final class LiveSession: LoopTask, LaneOwner {
    /// Times in a row that room on the lane lets streams read on before other descriptors get their turn.
    private static let rounds = 4
    /// Streams that wait for their turn to send, from which on bulk is left in the local sockets. What a thousand streams had
    /// read ahead would be out of the processor's cache long before it is sent.
    private static let mostReadAhead = 8
    /// Nanoseconds between two looks at the time that can be spent on compressing: the kernel counts in ticks of 1 to 10 ms.
    private static let lookInterval: UInt64 = 20_000_000
    /// The look is taken after so long at any rate.
    private static let longestInterval: UInt64 = 500_000_000
    /// Lanes of one session that a peer may make. Those that it has lost may take a while to be noticed here.
    private static let mostLanes = 32

    let loop: EventLoop
    let session: Session
    let dialled: Bool
    private(set) var mode: CompressionMode
    private let codec: LZ4Codec
    unowned let peer: Peer
    let budget: MemoryBudget
    let made: UInt64
    private(set) var logger: Logger
    private(set) var links: [LaneLink] = []
    /// New ones, which are still on this loop.
    private var unplaced: [LaneLink] = []
    /// The last lane that was lost of each dialler, by its number, until there is another in its place.
    private var lostLanes: [Int: SessionLane] = [:]
    /// Lanes lost so far, while the session went on.
    private(set) var lanesLost = 0
    /// Why the last lane was lost.
    private var lastLoss: String?
    private(set) var isOver = false
    /// The legs of streams that are not over.
    private(set) var legs: [ObjectIdentifier: Leg] = [:]

    private var isMarked = false
    /// Another session with the same peer is used instead.
    private(set) var isSuperseded = false
    /// That and why this session takes no new streams, until the peer is told.
    private var unsaidFarewell: (code: GoawayCode, text: String)?
    /// Legs that have to do something that they could not while the protocol core was at work.
    private var revisits: [Leg] = []
    /// Legs with bulk that is to be read, in turn.
    private var readers = Readers()
    /// Bypasses that the peer has asked for.
    var bypasses: [IncomingBypass] = []
    /// Those of this side whose connections are being made.
    var bypassesInPreparation = 0
    /// Why the peer takes no new streams; also why it closes the connection, if it does.
    private var farewell: Goaway?
    private var timer: (handle: TimerHandle, at: UInt64)?
    /// When idle time was looked at last, and the loop's then, in nanoseconds.
    private var lastLook: (now: UInt64, idle: UInt64)

    init(dialled: Bool, peer: Peer, budget: MemoryBudget) {
        loop = peer.loop
        self.dialled = dialled
        mode = peer.settings.compression
        codec = LZ4Codec(mode)
        self.peer = peer
        self.budget = budget
        made = peer.loop.now
        lastLook = (loop.now, loop.idle)
        logger = peer.logger
        let limits = peer.environment.limits
        var configuration = SessionConfiguration(
            role: dialled ? .dialler : .listener, name: peer.environment.relayName,
            streamWindow: limits.streamWindow, maximumStreams: limits.streamsPerSession,
            openWait: limits.openWait.nanoseconds, keepalive: limits.keepalive.nanoseconds,
            resumeTimeout: limits.sessionTimeout.nanoseconds)
        configuration.features = peer.settings.protection.features
        session = Session(
            configuration: configuration, codec: codec, pool: peer.pool, budget: budget, now: loop.now)
        timer = (loop.schedule(after: limits.handshakeTimeout) { [self] in fire() }, 0)
    }

    /// The peer has other settings now. What was said in HELLO stays for the session's life.
    func settingsChanged() {
        guard mode != peer.settings.compression else { return }
        mode = peer.settings.compression
        codec.change(to: mode, sent: bytesSent)
        for link in links { _ = link.busySinceLastLook() }
        lastLook = (loop.now, loop.idle)
    }

    // MARK: Lanes

    /// Takes a connection that this relay made.
    func join(_ connection: SecuredConnection, dialler: Dialler) {
        do {
            let lane = try DirectLane(connection, loop: loop, keepalive: peer.environment.limits.keepalive, owner: self)
            hold(lane, session.addLane(replacing: lostLanes[dialler.number], now: loop.now), dialler)
        } catch {
            logger.error("connection to \(connection.remote) closed: \(error)")
            guard isEstablished else { return end(.sessionLost, error.description) }
            dialler.lost(after: 0)
        }
    }

    /// Takes a connection that the peer made, and its HELLO.
    func adopt(_ lane: DirectLane, _ hello: Hello) throws(ProtocolViolation) -> SessionLane {
        if links.count >= Self.mostLanes, let oldest = links.min(by: { $0.made < $1.made }) {
            drop(oldest, "newer lanes took its place")
        }
        let half = session.addLane(now: loop.now)
        do throws(ProtocolViolation) {
            try session.greet(half, hello, now: loop.now)
        } catch {
            session.lose(half, now: loop.now)
            throw error
        }
        lane.owner = self
        hold(lane, half, nil)
        return half
    }

    private func hold(_ lane: DirectLane, _ half: SessionLane, _ dialler: Dialler?) {
        links.append(LaneLink(lane, half, dialler: dialler, made: loop.now))
        unplaced.append(links.last!)
        attend()
    }

    /// Gives new lanes to the loops that have the fewest of this session's. Those that stay come last in `links`: they would
    /// do at once all there is to do, and nothing would be left for the others.
    private func placeLanes() {
        while let link = unplaced.popLast() {
            guard let index = links.firstIndex(where: { $0 === link }) else { continue }
            let others = links.filter { $0 !== link }.map(\.lane.loopName)
            let place = peer.loops.min { a, b in others.count { $0 == a.name } < others.count { $0 == b.name } }!
            guard place !== loop else { continue }
            link.offload(to: place, owner: self)
            links.insert(links.remove(at: index), at: 0)
        }
    }

    /// A lane is of no use any more; the session goes on with the others, or waits for another.
    private func drop(_ link: LaneLink, _ text: String) {
        guard let index = links.firstIndex(where: { $0 === link }) else { return }
        links.remove(at: index)
        link.lane.close()
        session.lose(link.half, now: loop.now)
        if let dialler = link.dialler { lostLanes[dialler.number] = link.half }
        lanesLost += 1
        lastLoss = text
        if isEstablished, !isOver {
            logger.warning("lane \(link.half.number) lost: \(text)", metadata: [
                "remote": "\(link.lane.remote)", "lanes": "\(links.count)", "streams": "\(legs.count)",
            ])
        }
        peer.laneLost(link, of: self)
        attend()
    }

    /// The lane is not wanted any more; the others carry on.
    func closeLane(of dialler: Dialler) {
        if let link = links.first(where: { $0.dialler === dialler }) { drop(link, "the configuration has fewer lanes") }
        lostLanes[dialler.number] = nil
    }

    /// A connection of this dialler would be of use. One that drains needs lanes for what it has, and takes none beyond these.
    func wantsLane(of dialler: Dialler) -> Bool {
        guard dialled, isEstablished, !isOver, !isSuperseded, !links.contains(where: { $0.dialler === dialler }) else { return false }
        return isUsable || lostLanes[dialler.number] != nil
    }

    var isDetached: Bool { session.isDetached }
    var isEstablished: Bool { session.peer != nil }
    /// It opens no new streams, or is about to say so.
    var isDraining: Bool { session.isDraining || unsaidFarewell != nil }
    /// New streams may be opened on it.
    var isUsable: Bool { isEstablished && !isDraining && !isOver }

    /// Calls for `run` at the end of this iteration.
    func attend() {
        guard !isMarked, !isOver else { return }
        isMarked = true
        loop.enqueue(self)
    }

    func run() {
        isMarked = false
        guard !isOver else { return }
        placeLanes()
        lookAtIdleTime()
        receive()
        for _ in 0..<Self.rounds {
            handleEvents()
            readBulk()
            guard !isOver else { return }
            flushLanes()
            guard session.hasEvents || mayReadBulk else { break }
        }
        for link in links { if let failure = link.lane.failure { lost(link, failure) } }
        guard !isOver else { return }
        sayFarewell()
        if isDraining { peer.openWaiting() }
        if mayEnd, session.streamCount == 0, legs.isEmpty, links.allSatisfy(\.lane.isFlushed), !session.wantsToTransmit {
            return end(.shutdown, "drained")
        }
        if session.hasEvents || mayReadBulk || links.contains(where: \.lane.mayRead) { attend() }
        arm()
    }

    private func flushLanes() {
        func flush() {
            for link in links { link.lane.flush(session, link.half) }
        }
        guard mode == .auto else { return flush() }
        codec.measure(flush) { bytesSent }
    }

    private var bytesSent: UInt64 { links.reduce(0) { $0 + $1.lane.bytesSent } }

    /// Tells the codec whether it is the link or this loop that is waited for.
    private func lookAtIdleTime() {
        let interval = loop.now - lastLook.now
        guard mode == .auto, interval > Self.lookInterval else { return }
        let linkBusy = links.map { $0.busySinceLastLook() }.max() ?? 0
        // A lane of another loop tells with the end of a batch only.
        guard linkBusy > 0 || interval > Self.longestInterval else { return }
        codec.learn(from: interval, idle: loop.idle - lastLook.idle, linkBusy: linkBusy)
        lastLook = (loop.now, loop.idle)
    }

    /// The peer may close the session as soon as it is told, so streams that wait for their OPEN go out before.
    private func sayFarewell() {
        guard let (code, text) = unsaidFarewell, !legs.values.contains(where: { $0.stream.id == 0 }) else { return }
        unsaidFarewell = nil
        session.goaway(code, text)
        attend()
    }

    private func receive() {
        for link in links {
            link.lane.receive { take($0, on: link.half) }
            guard !isOver else { return }
        }
    }

    /// Takes what a lane brought.
    /// - Returns: whether it may bring more.
    func take(_ bytes: UnsafeRawBufferPointer, on half: SessionLane) -> Bool {
        do throws(ProtocolViolation) {
            // Not the loop's time: an iteration that was held up would make bytes older than they are, and the peer
            // silent for as long.
            try session.receive(bytes, on: half, now: EventLoop.monotonicNow) { stream, pieces in
                (stream.context as? Leg)?.deliver(pieces) ?? 0
            }
            handleEvents()
            return !isOver
        } catch {
            violation(error)
            return false
        }
    }

    private func violation(_ violation: ProtocolViolation) {
        session.goaway(violation.code, violation.description)
        end(.sessionLost, "\(peer.name) broke the protocol: \(violation)")
    }

    /// A connection broke. A session that has had a life waits for another one, unless the peer closed the last one on
    /// purpose.
    private func lost(_ link: LaneLink, _ failure: String) {
        guard !isOver else { return }
        let isLast = links.count == 1
        if isLast, !isEstablished || isSuperseded || farewell != nil && (link.lane.wasClosed || legs.isEmpty) {
            return end(
                legs.isEmpty && (isSuperseded || farewell != nil) ? .shutdown : .sessionLost,
                farewell.map { "\(peer.name) ended the session (\($0.code)): \($0.text)" } ?? failure)
        }
        drop(link, failure)
    }

    // MARK: Events

    private func handleEvents() {
        while !isOver, let event = session.nextEvent() { handle(event) }
        while let leg = revisits.popLast() { leg.revisit() }
    }

    private func handle(_ event: SessionEvent) {
        switch event {
        case .established(let hello):
            logger[metadataKey: "session"] = "\(session.id)"
            let lane = links.last?.lane
            logger.info("session established", metadata: [
                "relay": "\(hello.name)", "remote": "\(lane?.remote ?? "")", "tls": "\(lane?.summary ?? "")",
            ])
            if agreedBypass == nil, peer.settings.protection != .userspace {
                logger.notice("bulk stays in the session: 'tls: \(peer.settings.protection)' is not what both relays and their kernels offer")
            }
            arm()
            peer.established(self, hello)
        case .opened(let stream): peer.opened(stream, on: self)
        case .writable(let stream): if let leg = leg(of: stream) { readers.append(leg) }
        case .ended(let stream): leg(of: stream)?.drain()
        case .reset(let stream, let reason): leg(of: stream)?.peerReset(reason)
        case .closed(let stream): leg(of: stream)?.finish()
        case .goaway(let goaway): receivedGoaway(goaway)
        case .joined(let half):
            guard let link = link(of: half) else { return }
            logger.info("lane \(half.number) joined", metadata: ["remote": "\(link.lane.remote)", "lanes": "\(links.count)"])
            if let dialler = link.dialler { lostLanes[dialler.number] = nil }
            peer.joined(link)
        case .replaced(let half):
            if let link = link(of: half) { drop(link, "\(peer.name) made another in its place") }
        case .refused(let half, let goaway):
            if let link = link(of: half) { drop(link, "\(peer.name) refused it (\(goaway.code)): \(goaway.text)") }
        case .silent(let half):
            guard let link = link(of: half) else { return }
            lost(link, "nothing arrived from \(peer.name) for \(peer.environment.limits.keepalive)")
        case .expired:
            let limit = peer.environment.limits.sessionTimeout
            let loss = lastLoss ?? "the connection was lost"
            end(.sessionLost, limit == .zero ? loss : "\(loss); no other could be made within \(limit)")
        }
    }

    private func link(of half: SessionLane) -> LaneLink? { links.first { $0.half === half } }

    private func leg(of stream: SessionStream) -> Leg? { stream.context as? Leg }

    private func receivedGoaway(_ goaway: Goaway) {
        switch goaway.code {
        case .draining, .superseded:
            guard farewell == nil else { return }
            farewell = goaway
            if goaway.code == .superseded { drain(.superseded, goaway.text) }
            logger.info("\(peer.name) takes no new streams on this session: \(goaway.text)")
        default:
            end(.sessionLost, "\(peer.name) ended the session (\(goaway.code)): \(goaway.text)")
        }
    }

    /// No stream that would be served is on its way here any more. Of a session that was superseded, both sides say so.
    private var mayEnd: Bool { isSuperseded && !session.refusesOpens ? session.hasHeardGoaway : session.isDraining }

    // MARK: Streams

    /// Gives a stream its local end.
    func add(_ leg: Leg) {
        leg.stream.context = leg
        legs[ObjectIdentifier(leg)] = leg
    }

    /// A leg is over.
    func remove(_ leg: Leg) {
        leg.stream.context = nil
        legs[ObjectIdentifier(leg)] = nil
        attend()
    }

    /// A leg's local socket has something to say.
    func read(_ leg: Leg) {
        if session.backlog < Self.mostReadAhead && readers.isEmpty {
            leg.pump()
        } else {
            // Who says little is not to wait behind bulk, and who says much is known by what is left.
            if !leg.isBulk { leg.pump(once: true) }
            if leg.isBulk { readers.append(leg) }
        }
    }

    private var mayReadBulk: Bool { !readers.isEmpty && session.backlog < Self.mostReadAhead && !links.isEmpty }

    private func readBulk() {
        while mayReadBulk, !isOver, let leg = readers.popFirst() { leg.pump() }
    }

    func revisit(_ leg: Leg) {
        revisits.append(leg)
        attend()
    }

    /// The peer is not known to know all streams to this service.
    func isOpening(_ service: String) -> Bool {
        legs.values.contains { $0.stream.service == service && !session.isConfirmed($0.stream) }
    }

    func leg(stream id: UInt64) -> Leg? { session.stream(id).flatMap(leg) }

    // MARK: Time

    /// Sets the timer to the session's next deadline. One that fires early only sets it anew.
    private func arm() {
        guard isEstablished else { return }
        let deadline = session.deadline
        if let timer {
            if timer.at != 0 && timer.at <= deadline { return }
            loop.cancel(timer.handle)
        }
        let wait = deadline > loop.now ? deadline - loop.now : 0
        timer = (loop.schedule(after: .nanoseconds(Int64(clamping: wait))) { [self] in fire() }, deadline)
    }

    private func fire() {
        timer = nil
        guard !isOver else { return }
        guard isEstablished else { return end(.sessionLost, "\(peer.name) did not say HELLO in time") }
        // A process that was stopped for a while finds its timers due and the peer's bytes waiting: those count first.
        receive()
        guard !isOver else { return }
        session.advance(now: loop.now)
        attend()
    }

    // MARK: End

    /// Takes no new streams; the session ends when those it has are over.
    func drain(_ code: GoawayCode, _ text: String) {
        guard isEstablished else { return end(.shutdown, text) }
        // The farewell may have to wait for a peer that hardly reads.
        if code == .superseded { isSuperseded = true } else { session.refuseOpens() }
        if unsaidFarewell == nil { unsaidFarewell = (code, text) }
        attend()
    }

    /// The one way a session ends. Every stream that is not over is reset with the reason.
    func end(_ code: ResetCode, _ text: String) {
        guard !isOver else { return }
        isOver = true
        if let timer = timer.take() { loop.cancel(timer.handle) }
        for bypass in exchange(&bypasses, with: []) { bypass.close() }
        for leg in Array(legs.values) { leg.abort(ResetReason(code, text), remote: false) }
        if code == .shutdown { session.goaway(.draining, text) }
        for link in links {
            link.lane.flush(session, link.half)
            link.lane.close()
        }
        links = []
        // Whatever waits here holds this session.
        unplaced = []
        readers = Readers()
        revisits = []
        peer.ended(self, code: code, text)
    }
}
