import Testing

/// Lets only a few tests run at once. Those of the relay have threads of their own by the dozen, and a hundred of them would
/// make each other's limits run out.
struct Turns: SuiteTrait, TestTrait, TestScoping {
    fileprivate static let all = 4
    fileprivate static let relays = Gate(places: all)

    fileprivate let gate: Gate
    fileprivate let places: Int
    /// Whether each test of a suite takes a turn, or the suite as a whole.
    let isRecursive: Bool

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await gate.enter(places)
        do {
            try await function()
        } catch {
            await gate.leave(places)
            throw error
        }
        await gate.leave(places)
    }
}

extension Trait where Self == Turns {
    static var fewAtOnce: Turns { Turns(gate: Turns.relays, places: 1, isRecursive: true) }

    /// For suites whose tests are processes: to wait for one holds a thread of the pool that all tests share, which has as
    /// many as there are cores.
    static var alone: Turns { Turns(gate: Turns.relays, places: Turns.all, isRecursive: false) }

    /// Among the tests of one suite.
    static func atOnce(_ count: Int) -> Turns { Turns(gate: Gate(places: count), places: 1, isRecursive: true) }
}

fileprivate actor Gate {
    private var places: Int
    private var waiting: [(places: Int, turn: CheckedContinuation<Void, Never>)] = []

    init(places: Int) { self.places = places }

    func enter(_ count: Int) async {
        if waiting.isEmpty, places >= count {
            places -= count
        } else {
            await withCheckedContinuation { waiting.append((count, $0)) }
        }
    }

    /// In the order of their coming.
    func leave(_ count: Int) {
        places += count
        while let first = waiting.first, first.places <= places {
            places -= first.places
            waiting.removeFirst().turn.resume()
        }
    }
}
