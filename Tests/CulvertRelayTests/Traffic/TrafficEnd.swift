import Glibc

/// One end of a stream at work on a non-blocking socket: says what its plan says, checks what it hears, and notes how it
/// ended.
final class TrafficEnd {
    enum Hearing: Equatable {
        case open
        /// The other end said that it had said all.
        case ended
        case broken(CInt)
    }

    let name: String
    let socket: PlainSocket
    private let plan: EndPlan
    private let pattern: Pattern
    private let keys: (says: UInt64, hears: UInt64)
    private var random: Randomness

    private(set) var said = 0
    private(set) var heard = 0
    private(set) var hearing = Hearing.open
    /// Nil while there is more to say; 0 once it said that it had said all; else why it could not.
    private(set) var silence: CInt?
    private(set) var hasQuit = false
    /// Bytes were other than they should be.
    private(set) var corrupted: Int?
    var isHeld = false

    init(_ name: String, _ socket: PlainSocket, _ plan: EndPlan, _ pattern: Pattern, says: UInt64, hears: UInt64) {
        self.name = name
        self.socket = socket
        self.plan = plan
        self.pattern = pattern
        keys = (says, hears)
        random = Randomness(seed: says)
        socket.isNonBlocking = true
        quitIfDue()
    }

    var isOver: Bool { hasQuit || silence != nil && hearing != .open }

    /// What it waits for, as poll(2) wants it.
    var interest: CInt {
        guard !isOver, !isHeld else { return 0 }
        return (wantsToListen ? POLLIN : 0) | (wantsToTalk ? POLLOUT : 0)
    }

    private var wantsToListen: Bool { hearing == .open && !(plan.talksFirst && silence == nil) }
    private var wantsToTalk: Bool { silence == nil && !(plan.listensFirst && hearing == .open) }

    /// One piece in each direction that is ready.
    func work(_ events: CInt) {
        guard !isOver, !isHeld else { return }
        let broke = events & (POLLERR | POLLHUP) != 0
        if wantsToTalk, broke || events & POLLOUT != 0 { talk() }
        if !isOver, wantsToListen, broke || events & POLLIN != 0 { listen() }
        if isOver { socket.close() }
    }

    private func talk() {
        guard said < plan.says else { return finish() }
        let count = min(plan.says - said, Int.random(in: 1...plan.piece, using: &random))
        let result = pattern.withPiece(keys.says, offset: said, count: count) {
            send(socket.descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
        }
        if result > 0 {
            said += result
            quitIfDue()
            if said == plan.says, !hasQuit { finish() }
        } else if errno != EAGAIN {
            silence = errno
        }
    }

    private func finish() {
        socket.finishWriting()
        silence = 0
    }

    private func listen() {
        let limit = Int.random(in: 1...plan.piece, using: &random)
        withUnsafeTemporaryAllocation(byteCount: limit, alignment: 16) { buffer in
            let result = recv(socket.descriptor, buffer.baseAddress, limit, 0)
            if result > 0 {
                let piece = UnsafeRawBufferPointer(rebasing: buffer[..<result])
                if corrupted == nil, !pattern.matches(piece, keys.hears, offset: heard) { corrupted = heard }
                heard += result
                quitIfDue()
            } else if result == 0 {
                // The error that told of a reset is told once: who has got it in writing reads an end.
                hearing = silence.flatMap { $0 == 0 ? nil : .broken($0) } ?? .ended
            } else if errno != EAGAIN {
                hearing = .broken(errno)
                silence = silence ?? errno
            }
        }
    }

    private func quitIfDue() {
        switch plan.quit {
        case .afterWriting(let count) where said >= count: quit()
        case .afterReading(let count) where heard >= count: quit()
        default: break
        }
    }

    private func quit() {
        hasQuit = true
        if plan.quitsHard { socket.reset() } else { socket.close() }
    }
}

extension TrafficEnd: CustomStringConvertible {
    var description: String {
        let silence = silence.map { $0 == 0 ? "and finished" : "until \(String(cString: strerror($0)))" } ?? "so far"
        return "\(name) said \(said) of \(plan.says) \(silence), heard \(heard) (\(hearing))\(hasQuit ? ", quit" : "")"
            + (corrupted.map { ", wrong from \($0) on" } ?? "")
    }
}
