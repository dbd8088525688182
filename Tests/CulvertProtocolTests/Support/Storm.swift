@testable import CulvertProtocol

/// Loses connections of a pair at random and makes new ones, as a dialler would.
final class Storm {
    private unowned let pair: SessionPair
    /// Connections to strive for.
    private let lanes: Int
    /// Chance of a loss at each step, in ten thousandths.
    private let fury: Int
    private var dialAt: UInt64 = 0
    private(set) var losses = 0
    /// Even bad weather ends.
    private static let most = 200
    var isOver = false

    init(_ pair: SessionPair, lanes: Int, fury: Int) {
        self.pair = pair
        self.lanes = lanes
        self.fury = fury
        pair.onStep = { [unowned self] in act() }
    }

    private func act() {
        // Lane 0 makes the session.
        guard pair.ends.allSatisfy({ $0.session.peer != nil }) else { return }
        if !isOver, losses < Self.most, pair.random.below(10_000) < fury, let wire = pair.wires.last(where: { !$0.isCut }) {
            losses += 1
            pair.cut(wire, noticedBy: [[0, 1], [0], [1], []][pair.random.below(4)])
        }
        if pair.dialler.session.lanes.count < lanes, pair.now >= dialAt {
            pair.connect(replacing: pair.random.chance(50) ? pair.wires.last { $0.isCut } : nil)
            dialAt = pair.now + UInt64(1 + pair.random.below(30)) * 1_000_000
        }
    }
}
