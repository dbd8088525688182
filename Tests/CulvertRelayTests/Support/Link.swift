import CulvertIO
import Foundation
import Synchronization

/// The network between two relays: a TCP port that leads to another, which may be told later, and that can fail.
final class Link: Sendable {
    private struct State {
        var target: Endpoint?
        var isRefusing = false
        var isFrozen = false
        /// Bytes that may still go to the target; nil: all.
        var allowance: Int?
        /// Bytes that have gone to the target.
        var passed: UInt64 = 0
        var sockets: [PlainSocket] = []
        /// Counts the cuts: what was in the making then is cut too.
        var epoch = 0
        var isOver = false
    }

    /// Guards what can be waited for.
    private let change = NSCondition()
    private let state = Mutex(State())
    private let listener: PlainSocket
    let endpoint: Endpoint

    /// - Parameter target: nil: connections wait until `lead` names it.
    init(to target: Endpoint? = nil) throws {
        // What the kernel keeps for a link that does not move is in front of whatever goes next.
        listener = try PlainSocket.listen(PlainSocket.anyPort, receiveBuffer: 64 << 10)
        endpoint = listener.endpoint
        state.withLock { $0.target = target }
        Thread.detachNewThread { [self] in
            while let connection = listener.acceptOrStop() {
                Thread.detachNewThread { self.carry(connection) }
            }
        }
    }

    /// Ends its threads, and every connection.
    func close() {
        update { $0.isOver = true }
        listener.stop()
        cut()
    }

    func lead(to target: Endpoint) { update { $0.target = target } }

    /// Nothing goes through any more, and nothing says so.
    func freeze() { update { $0.isFrozen = true } }

    func thaw() { update { $0.isFrozen = false } }

    /// From now on only `count` more bytes go to the target, or all of them if it is nil.
    func allow(_ count: Int?) { update { $0.allowance = count } }

    /// Bytes that have gone to the target.
    var passed: UInt64 { state.withLock(\.passed) }

    /// Connections made from now on are closed at once, or not any more.
    func refuse(_ refuses: Bool) { update { $0.isRefusing = refuses } }

    /// Ends every connection. New ones wait until `lead`.
    func cut() {
        update { state in
            state.target = nil
            state.epoch += 1
            for socket in exchange(&state.sockets, with: []) { socket.stop() }
        }
    }

    private func update(_ edit: (inout State) -> Void) {
        change.withLock {
            state.withLock { edit(&$0) }
            change.broadcast()
        }
    }

    /// Waits until `condition` gives a value or the link is closed.
    private func wait<Value>(_ condition: (State) -> Value?) -> Value? {
        change.withLock {
            while true {
                let (value, isOver) = state.withLock { (condition($0), $0.isOver) }
                if value != nil || isOver { return isOver ? nil : value }
                change.wait()
            }
        }
    }

    private func carry(_ near: PlainSocket) {
        guard !state.withLock({ $0.isRefusing }),
            let (target, epoch) = wait({ state in state.target.map { ($0, state.epoch) } }),
            let far = try? PlainSocket.connect(target)
        else { return }
        let isTaken = state.withLock { state in
            guard !state.isOver, state.epoch == epoch else { return false }
            state.sockets += [near, far]
            return true
        }
        guard isTaken else { return }
        Thread.detachNewThread {
            self.pump(from: far, to: near) { _ in self.wait { $0.isFrozen ? nil : true } != nil }
        }
        pump(from: near, to: far) { count in
            guard self.wait({ $0.isFrozen || $0.allowance ?? 1 <= 0 ? nil : true }) != nil else { return false }
            self.state.withLock { state in
                state.allowance = state.allowance.map { $0 - count }
                state.passed += UInt64(count)
            }
            return true
        }
    }

    /// - Parameter admit: waits until so many bytes may go; false: never.
    private func pump(from source: PlainSocket, to sink: PlainSocket, _ admit: (Int) -> Bool) {
        while let bytes = source.readOrStop(), !bytes.isEmpty {
            guard admit(bytes.count), (try? sink.write(bytes)) != nil else { break }
        }
        source.stop()
        sink.stop()
    }
}

extension PlainSocket {
    /// Waits beyond the limit; nil once the listener is stopped.
    func acceptOrStop() -> PlainSocket? { beyondLimit { try accept() } }

    /// Waits beyond the limit; nil once the connection broke.
    func readOrStop() -> [UInt8]? { beyondLimit { try read() } }

    private func beyondLimit<Value>(_ body: () throws -> Value) -> Value? {
        while true {
            do {
                return try body()
            } catch let failure as Failure where [EAGAIN, EMFILE].contains(failure.code) {
                // Where descriptors are wanting, others give some back.
                if failure.code == EMFILE { usleep(1000) }
            } catch {
                return nil
            }
        }
    }
}
