import CulvertIO
import CulvertProtocol
import Logging

/// A session on its loop: binds the protocol core to a lane and to local sockets.
///
/// Whatever happens marks the session for attention; `run` then does all that follows from it once, at the end of the
/// loop's iteration: receive, events, transmit, timer.
final class LiveSession: LoopTask {
    /// Times in a row that room on the lane lets streams read on before other descriptors get their turn.
    private static let rounds = 4

    let loop: EventLoop
    let session: Session
    let dialled: Bool
    unowned let peer: Peer
    let made: UInt64
    private(set) var logger: Logger
    private(set) var lane: Lane?
    private(set) var isOver = false
    /// The legs of streams that are not over.
    private(set) var legs: [ObjectIdentifier: Leg] = [:]

    private var isMarked = false
    /// Another session with the same peer is used instead.
    private var isSuperseded = false
    /// Why, until the peer is told.
    private var unsaidFarewell: String?
    /// Legs whose write failed while the protocol core was at work.
    private var failedLegs: [Leg] = []
    /// Why the peer takes no new streams; also why it closes the connection, if it does.
    private var farewell: Goaway?
    private var timer: (handle: TimerHandle, at: UInt64)?

    init(connection: SecuredConnection, dialled: Bool, peer: Peer, budget: MemoryBudget) {
        loop = peer.loop
        self.dialled = dialled
        self.peer = peer
        made = peer.loop.now
        logger = peer.logger
        let limits = peer.environment.limits
        session = Session(
            configuration: SessionConfiguration(
                role: dialled ? .dialler : .listener, name: peer.environment.relayName,
                streamWindow: limits.streamWindow, maximumStreams: limits.streamsPerSession,
                openWait: limits.openWait.nanoseconds, keepalive: limits.keepalive.nanoseconds),
            pool: peer.pool, budget: budget, now: loop.now)
        do {
            lane = try Lane(connection, loop: loop, owner: self)
        } catch {
            loop.schedule(after: .zero) { [self] in end(.sessionLost, error.description) }
        }
        timer = (loop.schedule(after: limits.handshakeTimeout) { [self] in fire() }, 0)
        attend()
    }

    var isEstablished: Bool { session.peer != nil }
    /// New streams may be opened on it.
    var isUsable: Bool { isEstablished && !session.isDraining && !isSuperseded && !isOver }

    /// Calls for `run` at the end of this iteration.
    func attend() {
        guard !isMarked, !isOver else { return }
        isMarked = true
        loop.enqueue(self)
    }

    func run() {
        isMarked = false
        guard !isOver, let lane else { return }
        receive(lane)
        for _ in 0..<Self.rounds {
            handleEvents()
            guard !isOver else { return }
            lane.flush(session)
            guard session.hasEvents else { break }
        }
        if let failure = lane.failure {
            return end(
                isSuperseded && legs.isEmpty ? .shutdown : .sessionLost,
                farewell.map { "\(peer.name) ended the session (\($0.code)): \($0.text)" } ?? failure)
        }
        sayFarewell()
        if mayEnd, session.streamCount == 0, legs.isEmpty, lane.isFlushed, !session.wantsToTransmit {
            return end(.shutdown, "drained")
        }
        if lane.mayRead || session.hasEvents { attend() }
        arm()
    }

    /// The peer may close a superseded session as soon as it is told, so streams that wait for their OPEN go out before.
    private func sayFarewell() {
        guard let text = unsaidFarewell, !legs.values.contains(where: { $0.stream.id == 0 }) else { return }
        unsaidFarewell = nil
        session.goaway(.superseded, text)
        attend()
    }

    private func receive(_ lane: Lane) {
        lane.receive { bytes in
            do throws(ProtocolViolation) {
                // Not the loop's time: an iteration that was held up would make bytes older than they are, and the peer
                // silent for as long.
                try session.receive(bytes, now: EventLoop.monotonicNow) { stream, pieces in
                    (stream.context as? Leg)?.deliver(pieces) ?? 0
                }
                handleEvents()
                return !isOver
            } catch {
                violation(error)
                return false
            }
        }
    }

    private func violation(_ violation: ProtocolViolation) {
        session.goaway(violation.code, violation.description)
        lane?.flush(session)
        end(.sessionLost, "\(peer.name) broke the protocol: \(violation)")
    }

    // MARK: Events

    private func handleEvents() {
        while !isOver, let event = session.nextEvent() { handle(event) }
        while let leg = failedLegs.popLast() { leg.afterFailedWrite() }
    }

    private func handle(_ event: SessionEvent) {
        switch event {
        case .established(let hello):
            logger[metadataKey: "session"] = "\(session.id)"
            logger.info("session established", metadata: [
                "relay": "\(hello.name)", "remote": "\(lane?.remote ?? "")", "tls": "\(lane?.summary ?? "")",
            ])
            arm()
            peer.established(self, hello)
        case .opened(let stream): peer.opened(stream, on: self)
        case .writable(let stream): leg(of: stream)?.pump()
        case .ended(let stream): leg(of: stream)?.drain()
        case .reset(let stream, let reason): leg(of: stream)?.peerReset(reason)
        case .closed(let stream): leg(of: stream)?.finish()
        case .goaway(let goaway): receivedGoaway(goaway)
        case .silent:
            session.goaway(.silent, "nothing arrived for \(peer.environment.limits.keepalive)")
            end(.sessionLost, "nothing arrived from \(peer.name) for \(peer.environment.limits.keepalive)")
        }
    }

    private func leg(of stream: SessionStream) -> Leg? { stream.context as? Leg }

    private func receivedGoaway(_ goaway: Goaway) {
        switch goaway.code {
        case .draining, .superseded:
            farewell = goaway
            if goaway.code == .superseded { drain(.superseded, goaway.text) }
            logger.info("\(peer.name) takes no new streams on this session: \(goaway.text)")
        default:
            end(.sessionLost, "\(peer.name) ended the session (\(goaway.code)): \(goaway.text)")
        }
    }

    /// No stream is on its way here any more. Of a session that was superseded, both sides say so.
    private var mayEnd: Bool { isSuperseded ? session.hasHeardGoaway : session.isDraining }

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

    func writeFailed(_ leg: Leg) {
        failedLegs.append(leg)
        attend()
    }

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
        if let lane { receive(lane) }
        guard !isOver else { return }
        session.advance(now: loop.now)
        attend()
    }

    // MARK: End

    /// Takes no new streams; the session ends when those it has are over.
    func drain(_ code: GoawayCode, _ text: String) {
        guard isEstablished else { return end(.shutdown, text) }
        if code != .superseded {
            session.goaway(code, text)
        } else if !isSuperseded {
            isSuperseded = true
            unsaidFarewell = text
        }
        attend()
    }

    /// The one way a session ends. Every stream that is not over is reset with the reason.
    func end(_ code: ResetCode, _ text: String) {
        guard !isOver else { return }
        isOver = true
        if let timer = timer.take() { loop.cancel(timer.handle) }
        for leg in Array(legs.values) { leg.abort(ResetReason(code, text), remote: false) }
        if let lane = lane.take() {
            if code == .shutdown { session.goaway(.draining, text) }
            lane.flush(session)
            lane.close()
        }
        peer.ended(self, code: code, text)
    }
}
