import Glibc

@testable import CulvertProtocol

/// One end of one stream: what was written, what was read and found right.
final class Leg {
    let stream: SessionStream
    let side: Int
    let plan: Traffic.Direction
    private let outgoing: Content
    private let incoming: Content
    private(set) var written = 0
    private(set) var verified = 0
    private var finished = false
    private var ended = false
    var mayWrite = true
    var isClosed = false
    var wasReset: ResetReason?
    private(set) var didReset: ResetReason?
    private(set) var faults: [String] = []

    init(_ stream: SessionStream, index: Int, side: Int, plan: Traffic.Direction) {
        self.stream = stream
        self.side = side
        self.plan = plan
        outgoing = Content(key: 2 * index + side)
        incoming = Content(key: 2 * index + 1 - side)
        stream.context = self
    }

    var isOver: Bool { stream.isGone && (didReset != nil || stream.undelivered == 0) }

    func hasEnded() {
        if ended { faults.append("ended twice") }
        ended = true
        if !stream.receiveEnded { faults.append("ended before its end") }
    }

    /// Takes none, some or all of what is offered.
    func offer(_ pieces: UnsafeBufferPointer<iovec>, _ random: inout Seeded) -> Int {
        let total = pieces.reduce(0) { $0 + $1.iov_len }
        if didReset != nil { return total }
        let count = random.chance(40) ? total : random.chance(40) ? 0 : random.below(total + 1)
        verify(pieces, count)
        return count
    }

    func act(_ pair: SessionPair, _ random: inout Seeded) -> Bool {
        let session = pair.ends[side].session
        guard didReset == nil else { return false }
        let didRead = read(session, pair.now, &random)
        return write(session, pair.now, &random) || didRead
    }

    private func read(_ session: Session, _ now: UInt64, _ random: inout Seeded) -> Bool {
        guard stream.undelivered > 0 else { return false }
        var limit = random.chance(50) ? Int.max : random.below(5000)
        limit = session.read(stream, pieces: 1 + random.below(8)) { pieces in
            let count = min(limit, pieces.reduce(0) { $0 + $1.iov_len })
            verify(pieces, count)
            return count
        }
        if limit > 0 { session.consume(stream, limit, now: now) }
        return true
    }

    private func write(_ session: Session, _ now: UInt64, _ random: inout Seeded) -> Bool {
        guard !finished, !stream.isGone else { return false }
        guard written < plan.bytes else {
            end(session, now)
            return true
        }
        guard mayWrite else { return false }
        let space = session.space(stream)
        guard space > 0 else {
            mayWrite = false
            return false
        }
        let count = min(space, 1 + random.below(plan.chunk), plan.bytes - written)
        session.write(stream, upTo: count, now: now) { (outgoing.fill($0, from: written, count), ()) }
        written += count
        return true
    }

    private func end(_ session: Session, _ now: UInt64) {
        switch plan.ending {
        case .finish:
            session.finish(stream, now: now)
            finished = true
        case .reset(let afterData):
            let reason = ResetReason(.localClosed, errno: 104, "leg \(side)")
            session.reset(stream, reason, afterData: afterData, now: now)
            didReset = reason
        }
    }

    private func verify(_ pieces: UnsafeBufferPointer<iovec>, _ count: Int) {
        if !incoming.matches(pieces, from: verified, count) { faults.append("wrong bytes behind \(verified)") }
        verified += count
    }
}
