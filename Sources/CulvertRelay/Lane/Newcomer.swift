import CulvertIO
import CulvertProtocol

/// A connection whose other end has proved to be a peer, and has not said yet what it is for.
final class Newcomer: LaneOwner, LoopTask {
    private unowned let peer: Peer
    /// What it has proved to be.
    private let names: [String]
    private var lane: DirectLane?
    private var greeting = LaneGreeting()
    private var timer: TimerHandle?
    private var isMarked = false

    init(_ connection: SecuredConnection, peer: Peer) throws(IOError) {
        self.peer = peer
        names = connection.engine.peer.names
        let limits = peer.environment.limits
        lane = try DirectLane(connection, loop: peer.loop, keepalive: limits.keepalive, owner: self)
        timer = peer.loop.schedule(after: limits.handshakeTimeout) { [self] in
            end("\(peer.name) did not say HELLO in time", nil)
        }
        attend()
    }

    func attend() {
        guard !isMarked, lane != nil else { return }
        isMarked = true
        peer.loop.enqueue(self)
    }

    func run() {
        isMarked = false
        guard let lane else { return }
        var host: (session: LiveSession, half: SessionLane)?
        var attach: Attach?
        lane.receive { bytes in
            var input = bytes
            do throws(ProtocolViolation) {
                if host == nil {
                    switch try greeting.receive(&input) {
                    case nil: return true
                    case .lane(let hello): host = try settle(lane, hello)
                    case .bypass(let purpose):
                        guard input.isEmpty else { throw ProtocolViolation("bytes behind ATTACH that nobody waits for yet") }
                        attach = purpose
                        return false
                    }
                }
                return host!.session.take(input, on: host!.half)
            } catch {
                end("\(peer.name) was shown out: \(error)", error)
                return false
            }
        }
        if host != nil { return }
        if let attach { return handOver(lane, attach) }
        if let failure = lane.failure, self.lane != nil { return end(failure, nil) }
        if lane.mayRead { attend() }
    }

    /// The lane goes to the session that the HELLO names, or to a new one.
    private func settle(_ lane: DirectLane, _ hello: Hello) throws(ProtocolViolation) -> (LiveSession, SessionLane) {
        // The configuration may have changed since it was let in.
        guard peer.isNamed(in: names) else {
            throw ProtocolViolation(
                code: .unknownPeer,
                "none of the names you proved (\(names.joined(separator: ", "))) is the identity of \(peer.name) any more")
        }
        let host = try peer.host(hello)
        let half = try host.adopt(lane, hello)
        leave()
        return (host, half)
    }

    private func handOver(_ lane: DirectLane, _ attach: Attach) {
        guard let connection = lane.surrender() else { return end("more came behind ATTACH than was to be", nil) }
        leave()
        peer.attach(connection, attach)
    }

    private func end(_ text: String, _ violation: ProtocolViolation?) {
        guard let lane else { return }
        leave()
        peer.refused(lane, text)
        if let violation {
            lane.refuse(Goaway(code: violation.code, lastStream: 0, text: violation.description))
        } else {
            lane.close()
        }
    }

    /// The peer goes without it.
    func cancel() {
        guard let lane else { return }
        leave()
        lane.close()
    }

    private func leave() {
        lane = nil
        if let timer = timer.take() { peer.loop.cancel(timer) }
        peer.forget(self)
    }
}
