import CulvertIO
import CulvertProtocol
import CulvertTLS
import Glibc

/// Makes one of the connections to a peer and makes it again when it is lost: each address in turn, then again after a
/// growing, random pause. Lives on the peer's loop.
final class Dialler {
    private static let firstPause = Duration.milliseconds(100)
    private static let longestPause = Duration.seconds(30)
    /// While streams wait for the connection.
    private static let longestPauseOfStreams = Duration.seconds(1)
    /// A network that comes back is noticed at the next try, so tries are short.
    private static let patienceOfStreams = Duration.seconds(3)

    /// What lived for this long has shown that the peer can be reached.
    private static let stable = Duration.seconds(5)

    private enum State {
        case idle
        case pausing(TimerHandle)
        case connecting(Connector)
        case handshaking(Handshake)
    }

    private unowned let peer: Peer
    /// From 0 on; the first one makes the session.
    let number: Int
    private var state = State.idle
    private var pause = Dialler.firstPause
    /// Addresses of this round that were not tried, and what became of the others.
    private var untried: ArraySlice<Endpoint> = []
    private var failures: [String] = []
    /// No address of this round did anything but refuse; since when that has been so of all rounds.
    private var isRefused = true
    private var refusedSince: UInt64?
    /// Rounds so far: each begins with another address.
    private var rounds = 0

    init(peer: Peer, number: Int) {
        self.peer = peer
        self.number = number
    }

    /// Tries now, unless it is trying already.
    func dial() {
        switch state {
        case .connecting, .handshaking: return
        case .pausing(let timer): peer.loop.cancel(timer)
        case .idle: break
        }
        let addresses = peer.settings.addresses
        guard !addresses.isEmpty else { return state = .idle }
        let first = (number + rounds) % addresses.count
        rounds += 1
        untried = (addresses[first...] + addresses[..<first])[...]
        failures = []
        isRefused = true
        tryNext()
    }

    /// What the old addresses said is of no account. A try that is under way begins anew: who waits for it would get what becomes
    /// of addresses that are no longer.
    func addressesChanged() {
        refusedSince = nil
        pause = Self.firstPause
        rounds = 0
        if case .idle = state { return }
        stop()
        dial()
    }

    /// A connection is being made.
    var isTrying: Bool {
        switch state {
        case .connecting, .handshaking: true
        case .idle, .pausing: false
        }
    }

    /// The peer has taken the connection.
    /// - Parameter resumed: into a session that was there before.
    func succeeded(resumed: Bool) {
        refusedSince = nil
        if resumed { pause = Self.firstPause }
        stop()
    }

    /// The connection is gone. One that was lost soon after it was made is a failed try.
    /// - Parameter lifetime: nanoseconds.
    func lost(after lifetime: UInt64) {
        guard case .idle = state, !peer.settings.addresses.isEmpty else { return }
        guard lifetime > Self.stable.nanoseconds else { return pauseThenDial() }
        pause = Self.firstPause
        dial()
    }

    func stop() {
        switch state {
        case .idle: break
        case .pausing(let timer): peer.loop.cancel(timer)
        case .connecting(let connector): connector.cancel()
        case .handshaking(let handshake): handshake.cancel()
        }
        state = .idle
    }

    private func tryNext() {
        guard let address = untried.popFirst() else {
            state = .idle
            refusedSince = isRefused ? refusedSince ?? peer.loop.now : nil
            pauseThenDial()
            return peer.dialFailed(
                failures.joined(separator: "; "), refusedFor: refusedSince.map { peer.loop.now - $0 } ?? 0)
        }
        state = .connecting(
            Connector(to: address, loop: peer.loop, timeout: patience) { [self] result in
                switch consume result {
                case .success(let descriptor):
                    isRefused = false
                    handshake(descriptor, with: address)
                case .failure(let error):
                    isRefused = isRefused && error.errno == ECONNREFUSED
                    failed(error.description)
                }
            })
    }

    private func handshake(_ descriptor: consuming Descriptor, with address: Endpoint) {
        let engine: any TLSEngine
        do {
            engine = try peer.environment.tls.makeEngine(.client, with: peer.settings.identity)
        } catch {
            return failed(error.description)
        }
        let timeout = peer.environment.limits.handshakeTimeout
        state = .handshaking(
            Handshake(descriptor, engine: engine, loop: peer.loop, timeout: timeout) { [self] result in
                switch result {
                case .success(let connection): identify(connection, at: address)
                case .failure(let failure): failed("\(address.address): \(failure.text)")
                }
            })
    }

    /// The other end has a good certificate; it has to be the one of this peer.
    private func identify(_ connection: SecuredConnection, at address: Endpoint) {
        guard peer.isOtherEnd(of: connection) else {
            let names = connection.engine.peer.names
            return failed(
                "\(address.address): its certificate names \(names.isEmpty ? "nobody" : names.joined(separator: ", ")), "
                    + "not '\(peer.settings.identity)'; is the address right? if so, set peers.\(peer.name).identity")
        }
        state = .idle
        peer.adopt(connection, by: self)
    }

    private func failed(_ text: String) {
        failures.append(text)
        tryNext()
    }

    private var streamsWait: Bool { peer.sessions.contains { $0.isDetached && !$0.legs.isEmpty } }

    private var patience: Duration {
        let limit = peer.environment.limits.connectTimeout
        return streamsWait ? min(limit, Self.patienceOfStreams) : limit
    }

    private func pauseThenDial() {
        let jittered = pause * Double.random(in: 0.5...1)
        pause = min(pause * 2, streamsWait ? Self.longestPauseOfStreams : Self.longestPause)
        state = .pausing(peer.loop.schedule(after: jittered) { [self] in
            state = .idle
            dial()
        })
    }
}
