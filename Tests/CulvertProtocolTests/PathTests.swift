import Testing

@testable import CulvertProtocol

/// One stream gets 90 % and more of what its lanes can carry, whatever the rate and the delay, though segments are lost and
/// a lane dies and comes back.
///
/// Measured is payload that the reader has got, from 20 round trips and half a second after the stream was opened, in which
/// windows grow, for 40 round trips and a second.
@Suite struct PathTests {
    struct Case: CustomTestStringConvertible {
        /// Gb/s of all lanes, and milliseconds there and back.
        var rate, roundTrip: Double
        /// Shares of the lanes.
        var lanes: [Double]
        var losses = false
        var laneDies = false

        var plan: Path.Plan {
            let rates = lanes.map { $0 / lanes.reduce(0, +) * rate * 1e9 }
            // One loss in each bandwidth-delay product is more than TCP itself bears at such rates; a short path sees 20 MB.
            let product = rate * 1e9 / 8 * roundTrip / 1e3
            return Path.Plan(
                rates: rates, roundTrip: UInt64(roundTrip * 1e6), bytesBetweenLosses: losses ? max(product, 20e6) : nil)
        }

        var testDescription: String { "\(plan)\(laneDies ? ", a lane dies" : "")" }
    }

    private static func cases(_ paths: [(rate: Double, roundTrip: Double)]) -> [Case] {
        paths.flatMap { path in
            [[1], [1, 1, 1, 1], [4, 3, 2, 1]].flatMap { lanes in
                [(false, false), (true, false), (false, true), (true, true)].map { losses, laneDies in
                    Case(rate: path.rate, roundTrip: path.roundTrip, lanes: lanes, losses: losses, laneDies: laneDies)
                }
            }
        }
    }

    /// A debug build takes minutes for the largest, so it has only the hardest of the large ones.
    private static var all: [Case] {
        var small = cases([(1, 1), (1, 80), (10, 1), (10, 10)])
        #if DEBUG
            small = small.filter { $0.losses == $0.laneDies }
            let large = cases([(10, 80)]).filter { $0.losses && $0.laneDies }
        #else
            let large = cases([(10, 80), (25, 40), (100, 10), (100, 100)])
        #endif
        return Seeds.scale < 1 ? small.filter { $0.rate == 1 && $0.laneDies } : small + large
    }

    // One after the other: the largest hold gigabytes.
    @Test(.serialized, arguments: all)
    func aStreamFillsItsPath(_ item: Case) {
        let plan = item.plan
        // Up to 10 Gb/s x 80 ms the defaults of a relay.
        let streamWindow = item.rate * item.roundTrip > 800 ? 4 << 30 : 256 << 20
        let path = Path(plan, streamWindow: streamWindow, budget: 2 * streamWindow)
        path.run(for: 20 * plan.roundTrip + 500_000_000)
        let before = (delivered: path.delivered, capacity: path.capacity)
        let quarter = 10 * plan.roundTrip + 250_000_000
        path.run(for: quarter)
        if item.laneDies {
            path.cut(0)
            // The handshakes of TCP and TLS.
            path.run(for: 2 * plan.roundTrip)
            path.remake(0)
        }
        path.run(for: 3 * quarter)
        #expect(path.ends == [])
        let share = Double(path.delivered - before.delivered) / (path.capacity - before.capacity)
        #expect(share >= 0.9, "\(item.testDescription)")
    }
}
