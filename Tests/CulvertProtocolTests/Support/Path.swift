import Glibc

@testable import CulvertProtocol

/// One stream over a path of any rate and delay, in virtual time. Payload is not carried, only counted, so a path may hold
/// gigabytes; `SessionPair` is for content.
final class Path {
    struct Plan: CustomStringConvertible {
        /// Of each lane, in bits a second.
        var rates: [Double]
        /// Nanoseconds.
        var roundTrip: UInt64
        /// What a lane carries between two losses, on average. Nil: nothing is lost.
        var bytesBetweenLosses: Double?

        var description: String {
            rates.map { "\($0 / 1e9)" }.joined(separator: "+") + " Gb/s x \(Double(roundTrip) / 1e6) ms"
                + (bytesBetweenLosses.map { ", a loss every \($0 / 1e6) MB" } ?? "")
        }
    }

    let plan: Plan
    let sessions: [Session]
    let pools = [ChunkPool(), ChunkPool()]
    private(set) var now: UInt64 = 1_000_000_000
    private(set) var lanes: [PathLane] = []
    private(set) var source: SessionStream?
    private(set) var sink: SessionStream?
    /// Payload that the reader has got.
    private(set) var delivered = 0
    /// Bytes that the lanes there were could have carried.
    private(set) var capacity = 0.0
    /// Ends of any kind; there should be none.
    private(set) var ends: [String] = []
    private var random = Seeded(1)

    init(_ plan: Plan, streamWindow: Int, budget: Int) {
        self.plan = plan
        let start = now
        sessions = zip(pools, [SessionConfiguration.Role.dialler, .listener]).map { pool, role in
            Session(
                configuration: SessionConfiguration(role: role, name: "\(role)", streamWindow: streamWindow),
                pool: pool, budget: MemoryBudget(limit: budget), now: start)
        }
        for rate in plan.rates {
            lanes.append(PathLane(plan, rate, sessions.map { $0.addLane(now: now) }))
            run { sessions.allSatisfy { $0.lanes.allSatisfy { $0.roundTrip != nil } } }
        }
        source = sessions[0].open(service: "s", now: now)
    }

    /// Loses a lane with all that is on its way.
    func cut(_ index: Int) {
        lanes[index].isCut = true
        for (session, half) in zip(sessions, lanes[index].halves) { session.lose(half, now: now) }
    }

    /// Makes a lane that was cut again.
    func remake(_ index: Int) {
        let old = lanes[index].halves[0]
        lanes[index] = PathLane(
            plan, plan.rates[index],
            [sessions[0].addLane(replacing: old, now: now), sessions[1].addLane(now: now)])
    }

    func run(for nanoseconds: UInt64) {
        let end = now + nanoseconds
        run { now >= end }
    }

    private func run(until done: () -> Bool) {
        while !done() { step() }
    }

    private func step() {
        var next = now + 1_000_000
        for (side, session) in sessions.enumerated() {
            for lane in lanes { lane.arrive(at: side, session, now) { deliver($1) } }
            if session.deadline <= now { session.advance(now: now) }
            while let event = session.nextEvent() { note(event) }
            repeat { if side == 0 { write() } } while transmit(side)
            next = min(next, session.deadline)
        }
        for lane in lanes where !lane.isCut { next = min(next, lane.nextChange(after: now)) }
        next = max(next, now + 1)
        for lane in lanes where !lane.isCut { capacity += lane.rate(now) * Double(next - now) / 8e9 }
        now = next
    }

    private func note(_ event: SessionEvent) {
        switch event {
        case .opened(let stream): sink = stream
        case .established, .joined, .replaced, .writable: break
        case .ended, .reset, .closed, .goaway, .refused, .silent, .expired: ends.append(event.words)
        }
    }

    private func deliver(_ pieces: UnsafeBufferPointer<iovec>) -> Int {
        let count = pieces.reduce(0) { $0 + $1.iov_len }
        delivered += count
        return count
    }

    /// As much as the stream takes, of any content.
    private func write() {
        guard let source else { return }
        let space = sessions[0].space(source)
        if space > 0 { sessions[0].write(source, upTo: space, now: now) { _ in (space, ()) } }
    }

    private func transmit(_ side: Int) -> Bool {
        var any = false
        for lane in lanes where !lane.isCut && lane.hasRoom(side, now) && sessions[side].wantsToTransmit(on: lane.halves[side]) {
            lane.transmit(from: side, sessions[side], now, &random)
            any = true
        }
        return any
    }
}
