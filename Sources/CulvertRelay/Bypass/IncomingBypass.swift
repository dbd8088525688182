import CulvertIO
import CulvertProtocol

/// Takes what the peer carries past the session, and splices it into the local socket when its turn has come.
final class IncomingBypass: LoopTask {
    private enum State {
        /// The peer has not said yet which stream it is about.
        case waiting
        case preparing
        case carrying
        /// The leg knows why, and ends.
        case lost
        case over
    }

    private static let turn = 4 << 20

    private unowned let session: LiveSession
    private var state = State.waiting
    private weak var leg: Leg?
    private var notes: BypassNotes?
    private var dialler: BypassDialler?
    private var token: SessionID?
    private var connection: BypassConnection?
    private var pipe: BypassPipe?
    /// Offset of the stream from which on bytes come here.
    private var start: UInt64?
    /// Bytes that the peer has sent here, once it is done. More than have been moved.
    private var length: UInt64?
    /// Until the peer has begun.
    private var limit: TimerHandle?
    private var isMarked = false

    /// Bytes that the local socket has taken.
    var moved: UInt64 { pipe?.splice.moved ?? 0 }

    /// The local socket has to wait for what comes here: all before it was delivered.
    var isInCharge: Bool {
        guard state == .carrying || state == .lost, let start, let leg else { return false }
        return leg.stream.bytesReceived >= start
    }

    /// - Parameter notes: what the peer says about it.
    init(_ notes: consuming Descriptor, session: LiveSession) throws(IOError) {
        self.session = session
        self.notes = try BypassNotes(notes, loop: session.loop) { [unowned self] in
            take($0)
        } ended: { [unowned self] in
            fail("the peer's relay broke it off")
        }
        // The peer's own limit is half of it and runs out first, so that it never begins when this one is over.
        limit = session.loop.schedule(after: session.peer.environment.limits.handshakeTimeout * 2) { [unowned self] in
            limit = nil
            fail("it took too long")
        }
    }

    private func take(_ note: BypassNotes.Note) {
        switch (note, state) {
        case (.carry(let stream, let token), .waiting): prepare(stream, token)
        case (.from(let offset), .carrying) where start == nil && offset >= leg?.stream.bytesReceived ?? 0:
            start = offset
            if let limit = limit.take() { session.loop.cancel(limit) }
            leg?.drain()
        case (.length(let count), .carrying) where start != nil && length == nil:
            length = count
            finishIfDue()
        default: fail("the peer's relay says what makes no sense")
        }
    }

    private func prepare(_ stream: UInt64, _ token: SessionID) {
        guard let mode = session.bypassMode else { return decline("nothing goes past the session at the other relay now") }
        guard let leg = session.leg(stream: stream), leg.accept(self) else { return decline("there is no such stream to carry") }
        state = .preparing
        self.leg = leg
        self.token = token
        guard session.dialled else {
            session.peer.expect(token) { [unowned self] in connected(.success($0), mode) }
            notes?.send(.dial)
            return
        }
        do {
            dialler = try session.dialBypass(token: token) { [unowned self] in connected($0, mode) }
        } catch {
            connected(.failure(error), mode)
        }
    }

    private func connected(_ result: Result<SecuredConnection, BypassFailure>, _ mode: BypassMode) {
        guard case .preparing = state, connection == nil else { return }
        do throws(BypassFailure) {
            pipe = try BypassPipe(session.budget)
            let connection = try BypassConnection(try result.get(), mode: mode, sending: false, session: session)
            try connection.begin { [unowned self] in leg?.drain() } isDead: { [unowned self] in fail($0) }
            self.connection = connection
        } catch {
            return decline(error.text)
        }
        state = .carrying
        notes?.send(.ready)
    }

    /// Moves what there is. The leg's `drain`, while the bypass is in charge.
    func carry() {
        guard isInCharge, state == .carrying, let connection, let leg, let pipe else { return }
        let left = length.map { Int(clamping: $0 - moved) } ?? .max
        switch leg.splice(&pipe.splice, from: connection, limit: min(Self.turn, left)) {
        case .sourceIsEmpty, .sinkIsFull: break
        case .limit: goOnSoon()
        // The peer ends it only once it has heard that all is delivered.
        case .ended: return fail("it ended after \(moved) bytes")
        case .sourceFailed(let errno): return fail(connection.failure(toReceive: errno))
        case .sinkFailed(let errno): return leg.writeFailed(errno)
        }
        finishIfDue()
    }

    private func finishIfDue() {
        guard let length, length <= moved, let leg else { return }
        guard length == moved else { return fail("\(moved) bytes came, and the peer says that it sent \(length)") }
        notes?.send(.done)
        close()
        leg.bypassDelivered()
    }

    private func goOnSoon() {
        guard !isMarked else { return }
        isMarked = true
        session.loop.enqueue(self)
    }

    func run() {
        isMarked = false
        leg?.drain()
    }

    private func decline(_ text: String) {
        notes?.send(.no(text))
        fail(text)
    }

    private func fail(_ text: String) {
        switch state {
        case .carrying where start != nil:
            state = .lost
            leg?.bypassLost("from", connection?.remote ?? "", text)
        case .waiting, .preparing, .carrying:
            // All bytes so far have come in the session, and so will the others.
            close()
            leg?.bypassDelivered()
        case .lost, .over: break
        }
    }

    /// Lets go of everything.
    func close() {
        state = .over
        if let limit = limit.take() { session.loop.cancel(limit) }
        if let token { session.peer.forget(token) }
        dialler.take()?.cancel()
        connection.take()?.close()
        notes.take()?.close()
        session.forget(self)
    }
}
