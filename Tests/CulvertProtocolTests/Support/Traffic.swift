import Glibc
import Testing

@testable import CulvertProtocol

/// Random streams over a pair of sessions, checked byte by byte.
final class Traffic {
    /// How a direction ends.
    enum Ending: Equatable { case finish, reset(afterData: Bool) }

    struct Direction {
        var bytes: Int
        var ending: Ending
        /// Most bytes of one write.
        var chunk: Int
    }

    private let pair: SessionPair
    private let atOnce: Int
    private let plans: [[Direction]]
    /// By stream, by end.
    private var legs: [[Leg?]]
    private var active: [Int] = []
    private var started = 0

    init(_ pair: SessionPair, streams: Int, atOnce: Int = 40) {
        self.pair = pair
        self.atOnce = atOnce
        plans = (0..<streams).map { _ in [Self.direction(&pair.random), Self.direction(&pair.random)] }
        legs = Array(repeating: [nil, nil], count: streams)
    }

    /// - Parameter finished: called once everything is over, before what is left is looked at.
    func run(finished: () -> Void = {}) {
        pair.establish()
        for side in 0...1 {
            pair.ends[side].onEvent = { [unowned self] in handle($0, side) }
            pair.ends[side].deliver = { [unowned self] stream, pieces in
                leg(of: stream)?.offer(pieces, &pair.random) ?? 0
            }
            pair.ends[side].act = { [unowned self] in act(side) }
        }
        pair.run("traffic", limit: 300_000_000_000) { started == plans.count && active.isEmpty }
        finished()
        pair.settle()
    }

    private static func direction(_ random: inout Seeded) -> Direction {
        let most = [1, 10, 4096, 70_000, 200_000, 1_500_000][min(random.below(6), random.below(8))]
        let bytes = random.below(most)
        return Direction(
            bytes: bytes, ending: random.chance(80) ? .finish : .reset(afterData: random.chance(60)),
            chunk: bytes / 100 + 1 + random.below(random.chance(50) ? 300 : 300_000))
    }

    private func leg(of stream: SessionStream) -> Leg? { stream.context as? Leg }

    private func act(_ side: Int) -> Bool {
        if active.count < atOnce, started < plans.count, pair.random.chance(50) { start(side) }
        var did = false
        for _ in 0..<min(6, active.count) {
            let position = pair.random.below(active.count), index = active[position]
            did = legs[index][side]?.act(pair, &pair.random) ?? false || did
            guard isOver(index) else { continue }
            active.swapAt(position, active.count - 1)
            active.removeLast()
            if active.isEmpty { break }
        }
        return did
    }

    private func start(_ side: Int) {
        let stream = pair.ends[side].session.open(service: String(started), now: pair.now)
        legs[started][side] = Leg(stream, index: started, side: side, plan: plans[started][side])
        active.append(started)
        started += 1
    }

    private func handle(_ event: SessionEvent, _ side: Int) {
        switch event {
        case .opened(let stream):
            guard let index = Int(stream.service), legs[index][side] == nil else {
                Issue.record("stream of \(stream.service) opened twice, seed \(pair.seed)")
                return
            }
            legs[index][side] = Leg(stream, index: index, side: side, plan: plans[index][side])
        case .writable(let stream): leg(of: stream)?.mayWrite = true
        case .ended(let stream): leg(of: stream)?.hasEnded()
        case .reset(let stream, let reason): leg(of: stream)?.wasReset = reason
        case .closed(let stream): leg(of: stream)?.isClosed = true
        case .established, .goaway, .joined, .replaced: break
        case .silent(let lane): if !pair.isDead(lane) { Issue.record("silent, seed \(pair.seed)") }
        case .refused: Issue.record("refused, seed \(pair.seed)")
        case .expired: Issue.record("given up, seed \(pair.seed)")
        }
    }

    private func isOver(_ index: Int) -> Bool {
        let (own, other) = (legs[index][0], legs[index][1])
        if let own, let other { return own.isOver && other.isOver }
        // Reset before its OPEN went out: the other side never heard of it.
        return [own, other].contains { $0.map { $0.didReset != nil && $0.stream.id == 0 && $0.isOver } ?? false }
    }

    // MARK: Verdict

    func check() {
        for index in plans.indices { check(index) }
        legs = []
        for end in pair.ends { #expect(end.leftovers.isEmpty, "\(end.session.configuration.role), seed \(pair.seed)") }
    }

    private func check(_ index: Int) {
        for leg in legs[index] {
            guard let leg else { continue }
            leg.stream.context = nil
            #expect(leg.faults.isEmpty, "stream \(index), seed \(pair.seed)")
            guard let other = legs[index][1 - leg.side] else { continue }
            if leg.isClosed {
                #expect(other.isClosed, "stream \(index) is closed at one end only, seed \(pair.seed)")
                #expect(leg.verified == other.written, "stream \(index), seed \(pair.seed)")
            } else if leg.didReset != nil {
                let isKnown = other.wasReset == leg.didReset || other.didReset != nil
                #expect(isKnown, "stream \(index): its reset was not told, seed \(pair.seed)")
            } else {
                #expect(leg.wasReset != nil, "stream \(index) has no end, seed \(pair.seed)")
                #expect(leg.wasReset == other.didReset, "stream \(index), seed \(pair.seed)")
                if other.plan.ending == .reset(afterData: true) {
                    #expect(leg.verified == other.written, "tail of stream \(index), seed \(pair.seed)")
                }
            }
        }
    }
}
