import CulvertIO
import CulvertProtocol

/// Carries what a local socket says past the session: spliced onto a connection of its own, it never enters this process.
///
/// The stream keeps its place in the session. What was read before goes the usual way, up to an offset that the peer is
/// told; what follows takes the connection; and only when the peer has delivered all of that, the stream goes on, or ends,
/// in the session again. So the order of bytes and the end of the stream are as certain as without.
final class OutgoingBypass: LoopTask {
    /// What follows once everything on the connection was delivered.
    enum Sequel {
        case finish
        case fail(ResetReason)
        /// The stream goes on in the session.
        case goOn
    }

    private enum State {
        /// The connection is being made; the stream goes on in the session.
        case preparing(limit: TimerHandle)
        case carrying
        /// All bytes are on the connection; the peer has not said yet that it delivered them.
        case closing(Sequel)
        /// The leg knows why, and ends.
        case lost
        case over
    }

    /// Bytes moved in a row before others get their turn.
    private static let turn = 4 << 20

    private unowned let leg: Leg
    private unowned let session: LiveSession
    private let mode: BypassMode
    private let token = SessionID.random()
    private var state = State.over
    private var notes: BypassNotes?
    private var dialler: BypassDialler?
    private var connection: BypassConnection?
    private var pipe: BypassPipe?
    private var peerIsReady = false
    private var isMarked = false

    /// Bytes that the connection has taken.
    var moved: UInt64 { pipe?.splice.moved ?? 0 }

    /// The local socket's bytes take the connection now, or nothing may be read at all.
    var isInCharge: Bool {
        switch state {
        case .carrying, .closing, .lost: true
        case .preparing, .over: false
        }
    }

    init(_ leg: Leg, session: LiveSession, mode: BypassMode) throws(IOError) {
        self.leg = leg
        self.session = session
        self.mode = mode
        let notes = try BypassNotes(try session.openNotes(), loop: session.loop) { [unowned self] in
            take($0)
        } ended: { [unowned self] in
            fail("the peer's relay broke it off")
        }
        self.notes = notes
        notes.send(.carry(stream: leg.stream.id, token: token))
        if !session.dialled { session.peer.expect(token) { [unowned self] in connected($0) } }
        session.bypassesInPreparation += 1
        state = .preparing(limit: session.loop.schedule(after: session.peer.environment.limits.handshakeTimeout) {
            [unowned self] in fail("it took too long")
        })
    }

    private func take(_ note: BypassNotes.Note) {
        switch (note, state) {
        case (.dial, .preparing) where session.dialled && dialler == nil: dial()
        case (.ready, .preparing):
            peerIsReady = true
            beginIfReady()
        case (.no(let text), .preparing): fail(text)
        case (.done, .closing(let sequel)):
            close()
            leg.bypassed(sequel)
        default: fail("the peer's relay says what makes no sense")
        }
    }

    private func dial() {
        do {
            dialler = try session.dialBypass(token: token) { [unowned self] result in
                switch result {
                case .success(let connection): connected(connection)
                case .failure(let failure): fail(failure.text)
                }
            }
        } catch {
            fail(error.text)
        }
    }

    private func connected(_ secured: SecuredConnection) {
        guard case .preparing = state, connection == nil else { return }
        do {
            connection = try BypassConnection(secured, mode: mode, sending: true, session: session)
            beginIfReady()
        } catch {
            fail(error.text)
        }
    }

    private func beginIfReady() {
        guard peerIsReady, let connection else { return }
        do {
            pipe = try BypassPipe(session.budget)
            try connection.begin { [unowned self] in wake() } isDead: { [unowned self] in fail($0) }
        } catch {
            return fail(error.text)
        }
        change(to: .carrying)
        notes?.send(.from(leg.stream.bytesWritten))
        leg.pump()
    }

    private func change(to next: State) {
        if case .preparing(let limit) = state {
            session.loop.cancel(limit)
            session.bypassesInPreparation -= 1
        }
        state = next
    }

    private func wake() {
        // Nobody writes to it any more who would hear of it.
        if case .closing = state, let failure = connection?.failure { return fail(failure) }
        leg.pump()
    }

    /// Moves what there is. The leg's `pump`, while the bypass is in charge.
    func carry() {
        guard case .carrying = state, let connection, let pipe else { return }
        let limits = session.peer.environment.limits
        let left = limits.bypassSegment - min(limits.bypassSegment, moved)
        let pause = leg.splice(&pipe.splice, to: connection, limit: min(Self.turn, Int(left)))
        let isUsedUp = moved >= limits.bypassSegment || pipe.splice.calls >= limits.bypassCalls
        switch pause {
        case .sourceIsEmpty where isUsedUp, .limit where isUsedUp: conclude(.goOn)
        case .sourceIsEmpty, .sinkIsFull: break
        case .limit: goOnSoon()
        case .ended: conclude(.finish)
        case .sourceFailed(let errno): conclude(.fail(leg.readFailure(errno)))
        case .sinkFailed(let errno): fail(IOError(errno: errno, operation: "send").description)
        }
    }

    /// The connection does not end before the peer has all: what the kernel's TLS has taken and TCP has not would be lost
    /// behind an end (seen with Linux 6.1).
    private func conclude(_ sequel: Sequel) {
        notes?.send(.length(moved))
        change(to: .closing(sequel))
    }

    private func goOnSoon() {
        guard !isMarked else { return }
        isMarked = true
        session.loop.enqueue(self)
    }

    func run() {
        isMarked = false
        if case .carrying = state { leg.pump() }
    }

    /// The local socket has said all it has to say, before anything took the connection.
    func giveUp() {
        if case .preparing = state { close() }
    }

    /// Before anything took the connection, nothing is lost but the hope for it.
    private func fail(_ text: String) {
        switch state {
        case .preparing:
            close()
            leg.goesOnInSession(text)
        case .carrying, .closing:
            change(to: .lost)
            leg.bypassLost("to", connection?.remote ?? "", text)
        case .lost, .over: break
        }
    }

    /// Lets go of everything.
    func close() {
        change(to: .over)
        session.peer.forget(token)
        dialler.take()?.cancel()
        connection.take()?.close()
        notes.take()?.close()
    }
}
