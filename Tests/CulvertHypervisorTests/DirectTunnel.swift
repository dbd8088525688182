import CulvertHypervisor
import CulvertIO
import CulvertTestSupport
import Foundation
import Glibc
import Synchronization

/// A tunnel without relays: it copies between sockets of this host, and tells how streams ended as a relay would.
final class DirectTunnel: Tunnel {
    static let peer = "hostb"
    /// Before a path: not a socket to connect to, but what to answer.
    private static let targetQuery = "culvert/target/"

    private struct Forward {
        var listener: StreamSocket
        var path: String
        var outcomes: [TunnelOutcome] = []
    }

    private struct State {
        var forwards: [String: Forward] = [:]
        var opened = 0
        var sockets: [StreamSocket] = []
        var cut: String?
        var silent = false
    }

    private let directory: TemporaryDirectory
    private let services: [String: String]
    private let state = Mutex(State())

    /// `services` maps a service of the far host to the path of a socket; `migrate/NAME` is `NAME.sock` in `directory`.
    init(directory: TemporaryDirectory, services: [String: String]) {
        self.directory = directory
        self.services = services
    }

    var openForwards: [String] { state.withLock { Array($0.forwards.keys) } }

    /// Ends every stream as if the session had been lost.
    func cut(_ text: String) {
        let sockets = state.withLock { state in
            state.cut = text
            return state.sockets
        }
        for socket in sockets { socket.shutdown() }
    }

    /// Answers nothing more, as a relay that has died.
    func silence() { state.withLock { $0.silent = true } }

    func open(to service: String, listen: Endpoint?, lease: Duration) async throws(TunnelError) -> TunnelForward {
        try answer()
        let target = try path(of: service)
        let number = state.withLock { state in
            state.opened += 1
            return state.opened
        }
        let id = "f\(number)"
        let path = if case .unix(let path)? = listen { path } else { directory("forward-\(number).sock") }
        do {
            let listener = try StreamSocket.listen(unix: path)
            state.withLock { $0.forwards[id] = Forward(listener: listener, path: path) }
            // Two hosts may use the same path, and here are both on one: what leads to itself leads to nothing.
            let reached = target == path ? directory("absent") : target
            Thread.detachNewThread { [self] in
                while let near = listener.accept() { carry(near, to: reached, forward: id) }
            }
        } catch {
            throw TunnelError("\(error)")
        }
        return TunnelForward(id: id, address: .unix(path: path))
    }

    func existing(to service: String, listen: Endpoint) async throws(TunnelError) -> TunnelForward? { nil }

    func renew(_ forward: TunnelForward) async throws(TunnelError) { try answer() }

    func close(_ forward: TunnelForward) async throws(TunnelError) {
        guard let closed = state.withLock({ $0.forwards.removeValue(forKey: forward.id) }) else { return }
        closed.listener.shutdown()
        unlink(closed.path)
    }

    func outcomes(of forward: TunnelForward) async throws(TunnelError) -> [TunnelOutcome] {
        try answer()
        return state.withLock { $0.forwards[forward.id]?.outcomes ?? [] }
    }

    private func answer() throws(TunnelError) {
        if state.withLock({ $0.silent }) { throw TunnelError("the relay does not answer") }
    }

    private func path(of service: String) throws(TunnelError) -> String {
        let words = service.split(separator: "/", maxSplits: 1).map(String.init)
        guard words.count == 2, words[0] == Self.peer else { throw TunnelError("no peer for '\(service)'") }
        if let path = services[words[1]] { return path }
        if words[1].hasPrefix(Self.targetQuery) {
            return Self.targetQuery + (try path(of: "\(Self.peer)/\(words[1].dropFirst(Self.targetQuery.count))"))
        }
        guard words[1].hasPrefix("migrate/") else { throw TunnelError("\(Self.peer) has no service '\(words[1])'") }
        return directory("\(words[1].dropFirst("migrate/".count)).sock")
    }

    // MARK: Streams

    /// What is known of one stream while its two directions run.
    private final class Stream: Sendable {
        struct State {
            var sent: UInt64 = 0
            var received: UInt64 = 0
            var running = 2
            var reset: TunnelOutcome.Reset?
        }
        let state = Mutex(State())
    }

    private func carry(_ near: StreamSocket, to target: String, forward: String) {
        if target.hasPrefix(Self.targetQuery) {
            try? near.write(#"{"target":"unix:\#(target.dropFirst(Self.targetQuery.count))"}"#.utf8 + [UInt8(ascii: "\n")])
            return
        }
        let far: StreamSocket
        do {
            far = try StreamSocket.connect(unix: target)
        } catch {
            let code = (error as? SystemError)?.code == ECONNREFUSED ? "ECONNREFUSED" : "ENOENT"
            let reset = TunnelOutcome.Reset(code: "connect-failed", errno: code, text: "\(error)", remote: true)
            end(forward, TunnelOutcome(bytesSent: 0, bytesReceived: 0, reset: reset))
            return
        }
        state.withLock { $0.sockets += [near, far] }
        let stream = Stream()
        for outward in [true, false] {
            Thread.detachNewThread { [self] in
                pump(near, far, outward: outward, stream)
                let last = stream.state.withLock { state in
                    state.running -= 1
                    return state.running == 0 ? state : nil
                }
                if let last {
                    end(forward, TunnelOutcome(bytesSent: last.sent, bytesReceived: last.received, reset: last.reset))
                }
            }
        }
    }

    private func pump(_ near: StreamSocket, _ far: StreamSocket, outward: Bool, _ stream: Stream) {
        let (from, to) = outward ? (near, far) : (far, near)
        var reading = true
        do {
            while true {
                reading = true
                let bytes = try from.read()
                if let cut = state.withLock({ $0.cut }) {
                    let reset = TunnelOutcome.Reset(code: "session-lost", errno: nil, text: cut, remote: false)
                    stream.state.withLock { $0.reset = reset }
                    break
                }
                if bytes.isEmpty { return to.shutdown(SHUT_WR) }
                reading = false
                try to.write(bytes)
                stream.state.withLock { state in
                    if outward { state.sent += UInt64(bytes.count) } else { state.received += UInt64(bytes.count) }
                }
            }
        } catch {
            let remote = (reading == outward) == false
            let text = "the \(remote ? "target" : "local") socket failed: \(error)"
            let code = (error as? SystemError)?.code == EPIPE ? "EPIPE" : "ECONNRESET"
            stream.state.withLock {
                $0.reset = $0.reset ?? TunnelOutcome.Reset(code: "socket-failed", errno: code, text: text, remote: remote)
            }
        }
        near.shutdown()
        far.shutdown()
    }

    private func end(_ forward: String, _ outcome: TunnelOutcome) {
        state.withLock { $0.forwards[forward]?.outcomes.append(outcome) }
    }
}
