import CulvertIO
import CulvertProtocol
import Glibc
import Logging

/// The local socket of one stream: reads it into the stream, writes the stream into it.
final class Leg: EventHandler {
    /// How long a broken leg may take to hand on what is still in flight.
    private static let linger = Duration.seconds(5)
    /// How long the peer's reason is waited for, where it could be a better one.
    private static let moment = Duration.seconds(2)
    /// Pieces of 64 KiB that one write takes at most.
    private static let pieces = 8
    /// Send buffer of a local socket: room for one batch, so that it goes out in one write.
    static let bufferSize = 512 << 10

    /// Bytes that are read at once of a stream that is not known to have more.
    private static let chunk = 64 << 10

    let stream: SessionStream
    /// The forward that accepted the local connection; nil if the peer opened the stream.
    let forward: Forward?
    let opened: UInt64
    private let owner: LiveSession
    private var session: Session { owner.session }
    private var loop: EventLoop { owner.loop }

    /// Nil while the target is being connected to, and after the end.
    private var descriptor: Descriptor?
    private var registration: Registration?
    private var connecting: PendingConnect?
    private var lingering: TimerHandle?
    private var losing: TimerHandle?

    private var mayRead = false
    private var mayWrite = false
    private var readEnded = false
    /// The socket had more to say than was read, the last time.
    private(set) var isBulk = false
    /// It waits for its turn to be read.
    var isQueued = false
    private var writeEnded = false
    /// The loop has told of an error that no call on the socket has met yet.
    private var hasError = false
    /// Why the local side no longer takes bytes; what still arrives is dropped until the peer knows.
    private var broken: ResetReason?
    /// The peer's reset, once it has arrived: what it sent before is still written.
    private var remoteReset: ResetReason?
    private var isOver = false

    /// What carries bytes past the session at the moment, and what others carried before.
    private(set) var outgoing: OutgoingBypass?
    private(set) var incoming: IncomingBypass?
    private var carried: (sent: UInt64, received: UInt64) = (0, 0)
    /// The stream stays in its session.
    private var mayBypass = true

    private var sampled: (sent: UInt64, received: UInt64) = (0, 0)
    private(set) var sendRate = 0.0
    private(set) var receiveRate = 0.0

    /// For a local connection that a forward accepted.
    init(_ stream: SessionStream, owner: LiveSession, forward: Forward?) {
        self.stream = stream
        self.owner = owner
        self.forward = forward
        opened = owner.loop.now
    }

    private var logger: Logger {
        var logger = owner.logger
        logger[metadataKey: "stream"] = "\(stream.id)"
        logger[metadataKey: "service"] = "\(stream.service)"
        return logger
    }

    // MARK: Beginning

    /// Joins the stream with a connected socket.
    func attach(_ descriptor: consuming Descriptor) {
        connecting = nil
        guard !isOver else { return }
        descriptor.tuneForLeg(bufferSize: Self.bufferSize)
        do {
            registration = try loop.register(descriptor, self)
        } catch {
            return fail(ResetReason(.internalError, error.description))
        }
        // Should this process die, a half-sent stream must not look like a finished one.
        descriptor.resetOnClose(true)
        self.descriptor = consume descriptor
        mayRead = true
        mayWrite = true
        pump()
        drain()
        owner.attend()
    }

    /// Joins the stream with a service's target, behind those that were asked for earlier.
    func connect(to target: Endpoint, through queue: TargetQueue, timeout: Duration) {
        connecting = queue.connect(to: target, timeout: timeout) { [self] result in
            switch consume result {
            case .success(let descriptor): attach(descriptor)
            case .failure(let error):
                connecting = nil
                fail(ResetReason(.connectFailed, errno: UInt32(error.errno), error.description))
            }
        }
    }

    // MARK: Socket to stream

    func ready(_ events: ReadyEvents) {
        if events.contains(.readable) { mayRead = true }
        if events.contains(.writable) { mayWrite = true }
        if events.contains(.error) { hasError = true }
        if mayRead { owner.read(self) }
        if mayWrite { drain() }
        owner.attend()
    }

    /// Reads as much as the stream takes.
    /// - Parameter once: a chunk at most, in one system call.
    func pump(once: Bool = false) {
        if let outgoing, outgoing.isInCharge { return outgoing.carry() }
        bypassIfBulk()
        var hasRead = false
        while mayRead, !readEnded, !isOver, descriptor != nil {
            let space = session.space(stream)
            isBulk = true
            guard space > 0, !(once && hasRead) else { return }
            hasRead = true
            let outcome = session.write(stream, upTo: once ? min(space, Self.chunk) : space, now: loop.now) { spaces in
                let outcome = descriptor!.read(into: spaces)
                if case .bytes(let count) = outcome { return (count, outcome) }
                return (0, outcome)
            }
            switch outcome {
            case .bytes:
                // Also after a short read there may be more, or the end, without a new event.
                continue
            case .wouldBlock:
                mayRead = false
                isBulk = false
            case .endOfStream:
                readEnded = true
                outgoing?.giveUp()
                if broken == nil { session.finish(stream, now: loop.now) }
            case .failed(let errno):
                readEnded = true
                fail(readFailure(errno))
            }
        }
        if readEnded { lookForError() }
        if let broken, readEnded || !mayRead { fail(broken) }
    }

    /// Behind the end of what the local side says, nothing is read that would tell of an error, and writing may have to wait for ever.
    /// A hangup without an error is no reason to reset: who has said all and left may still want it done.
    private func lookForError() {
        guard hasError, !isOver, !writeEnded, broken == nil, remoteReset == nil, descriptor != nil else { return }
        hasError = false
        if let errno = descriptor!.takeError() { noteBroken(errno) }
    }

    func readFailure(_ errno: CInt) -> ResetReason {
        ResetReason(.localClosed, errno: UInt32(errno), IOError(errno: errno, operation: "read from \(place)").description)
    }

    // MARK: Stream to socket

    /// Takes bytes straight from the lane. Called while the protocol core is at work, so it touches nothing but the
    /// socket.
    /// - Returns: how many it took.
    func deliver(_ pieces: UnsafeBufferPointer<iovec>) -> Int {
        guard mayWrite, broken == nil, descriptor != nil else { return 0 }
        switch descriptor!.write(pieces) {
        case .bytes(let count):
            if incoming != nil { owner.revisit(self) }
            return count
        case .wouldBlock:
            mayWrite = false
            return 0
        case .endOfStream: return 0
        case .failed(let errno):
            noteBroken(errno)
            owner.revisit(self)
            return 0
        }
    }

    /// After the protocol core's work, if that is what `deliver` asked for.
    func revisit() {
        if broken != nil { afterFailedWrite() } else { drain() }
    }

    /// Writes what has been kept, then the end if it is due.
    func drain() {
        guard !isOver, descriptor != nil else { return }
        while mayWrite, broken == nil, stream.undelivered > 0 {
            switch session.read(stream, pieces: Self.pieces, { descriptor!.write($0) }) {
            case .bytes(let count):
                session.consume(stream, count, now: loop.now)
            case .wouldBlock: mayWrite = false
            case .endOfStream: return
            case .failed(let errno):
                noteBroken(errno)
                return afterFailedWrite()
            }
        }
        guard !isOver, broken == nil, stream.undelivered == 0 else { return }
        if let remoteReset { return abort(remoteReset, remote: true) }
        if let incoming, incoming.isInCharge { return incoming.carry() }
        if stream.isDelivered, !writeEnded {
            writeEnded = true
            descriptor!.shutdownWrite()
        }
    }

    func writeFailed(_ errno: CInt) {
        noteBroken(errno)
        afterFailedWrite()
    }

    private func noteBroken(_ errno: CInt) {
        broken = ResetReason(
            .localClosed, errno: UInt32(errno), IOError(errno: errno, operation: "write to \(place)").description)
    }

    /// The local side takes no more, but what it said before may explain why: read that, then reset.
    private func afterFailedWrite() {
        guard !isOver, let broken else { return }
        if let remoteReset { return abort(remoteReset, remote: true) }
        session.dropWhatArrives(stream, now: loop.now)
        mayRead = true
        lingerThenAbort(broken)
        pump()
    }

    // MARK: Past the session

    private func bypassIfBulk() {
        guard mayBypass, outgoing == nil, !isOver, !readEnded,
            stream.bytesWritten >= owner.peer.environment.limits.bulk,
            let mode = owner.bypassMode, owner.mayPrepareBypass
        else { return }
        do {
            outgoing = try OutgoingBypass(self, session: owner, mode: mode)
        } catch {
            goesOnInSession(error.description)
        }
    }

    func goesOnInSession(_ text: String) {
        outgoing = nil
        mayBypass = false
        logger.info("the stream stays in its session: \(text)")
    }

    /// The peer has delivered all that went past the session.
    func bypassed(_ sequel: OutgoingBypass.Sequel) {
        carried.sent += outgoing?.moved ?? 0
        outgoing = nil
        switch sequel {
        case .finish:
            readEnded = true
            if let broken { return fail(broken) }
            session.finish(stream, now: loop.now)
        case .fail(let reason):
            readEnded = true
            fail(reason)
        case .goOn:
            mayRead = true
            pump()
        }
        owner.attend()
    }

    /// - Returns: whether the peer may carry this stream past the session.
    func accept(_ bypass: IncomingBypass) -> Bool {
        guard incoming == nil, !isOver, !writeEnded, descriptor != nil else { return false }
        incoming = bypass
        return true
    }

    /// The local socket has all that came past the session.
    func bypassDelivered() {
        carried.received += incoming?.moved ?? 0
        incoming = nil
        drain()
        owner.attend()
    }

    /// The stream is lost. The peer may know better why, and be about to say so: it gets a moment.
    func bypassLost(_ direction: String, _ remote: String, _ text: String) {
        guard losing == nil, !isOver else { return }
        let reason = ResetReason(
            .sessionLost,
            "the connection \(direction) \(remote) that carried this stream past its session was lost: \(text); what was spliced cannot be sent again")
        losing = loop.schedule(after: Self.moment) { [self] in fail(reason) }
    }

    func splice(_ splice: inout Splice, to connection: BypassConnection, limit: Int) -> Splice.Pause {
        guard descriptor != nil else { return .sourceIsEmpty }
        return splice.move(from: descriptor!, to: connection.descriptor, limit: limit)
    }

    func splice(_ splice: inout Splice, from connection: BypassConnection, limit: Int) -> Splice.Pause {
        guard descriptor != nil, broken == nil else { return .sinkIsFull }
        return splice.move(from: connection.descriptor, to: descriptor!, limit: limit)
    }

    /// Bytes of the local socket that never entered this process.
    var spliced: (sent: UInt64, received: UInt64) {
        (carried.sent + (outgoing?.moved ?? 0), carried.received + (incoming?.moved ?? 0))
    }

    var bytesSent: UInt64 { stream.bytesWritten + spliced.sent }
    var bytesReceived: UInt64 { stream.bytesReceived + spliced.received }

    // MARK: End

    /// This side cannot go on: the peer gets what was read, then the reason.
    private func fail(_ reason: ResetReason) {
        guard !isOver else { return }
        session.reset(stream, reason, afterData: true, now: loop.now)
        // Data goes first, and the peer's credit for it may never come.
        if !stream.isGone {
            loop.schedule(after: Self.linger) { [owner, weak stream] in
                guard let stream, !stream.isGone else { return }
                owner.session.reset(stream, reason, now: owner.loop.now)
                owner.attend()
            }
        }
        end(reason, remote: false)
    }

    /// The peer cannot go on: the local side gets what arrived, then an end that is no clean one.
    func peerReset(_ reason: ResetReason) {
        guard !isOver else { return }
        if descriptor != nil, broken == nil, stream.undelivered > 0 {
            remoteReset = reason
            lingerThenAbort(reason)
            drain()
        } else {
            abort(reason, remote: true)
        }
    }

    private func lingerThenAbort(_ reason: ResetReason) {
        guard lingering == nil else { return }
        lingering = loop.schedule(after: Self.linger) { [self] in abort(reason, remote: remoteReset != nil) }
    }

    /// Both directions ended and everybody knows.
    func finish() { end(nil, remote: false) }

    /// Ends at once, in both directions.
    func abort(_ reason: ResetReason, remote: Bool) {
        guard !isOver else { return }
        if !remote { session.reset(stream, reason, now: loop.now) }
        end(reason, remote: remote)
    }

    /// The one way a leg ends.
    private func end(_ reason: ResetReason?, remote: Bool) {
        guard !isOver else { return }
        isOver = true
        for timer in [lingering.take(), losing.take()] { if let timer { loop.cancel(timer) } }
        if let connecting = connecting.take() { connecting.cancel() }
        if let outgoing = outgoing.take() {
            carried.sent += outgoing.moved
            outgoing.close()
        }
        if let incoming = incoming.take() {
            carried.received += incoming.moved
            incoming.close()
        }
        if let registration = registration.take() { loop.deregister(registration) }
        if let descriptor = descriptor.take(), reason == nil { descriptor.resetOnClose(false) }
        report(reason, remote: remote)
        owner.peer.streamEnded(self, reason, remote: remote)
        owner.remove(self)
    }

    private func report(_ reason: ResetReason?, remote: Bool) {
        let metadata: Logger.Metadata = [
            "sent": "\(bytesSent)", "received": "\(bytesReceived)",
            "seconds": "\(Double((loop.now - opened) / 1_000_000) / 1000)",
        ]
        if let reason {
            logger.warning("stream reset by \(remote ? "the peer" : "this relay"): \(reason.code): \(reason.text)", metadata: metadata)
        } else {
            logger.info("stream finished", metadata: metadata)
        }
        forward?.ended(self, reason, remote: remote)
    }

    /// The local end, for people.
    private var place: String { forward.map { "a client of \($0.endpoint)" } ?? "the target of \(stream.service)" }

    /// Brings the rates up to date.
    /// - Parameter seconds: since the last call.
    func sample(seconds: Double) {
        sendRate = Double(bytesSent - sampled.sent) / seconds
        receiveRate = Double(bytesReceived - sampled.received) / seconds
        sampled = (bytesSent, bytesReceived)
    }

    /// For `StreamStatus.state`.
    var stateName: String {
        if descriptor == nil { return "connecting" }
        if broken != nil || remoteReset != nil { return "closing" }
        if stream.id == 0 { return "opening" }
        return switch (stream.sendEnded, stream.receiveEnded) {
        case (false, false): "open"
        case (true, false): "half-closed (local)"
        case (false, true): "half-closed (remote)"
        case (true, true): "closing"
        }
    }
}
