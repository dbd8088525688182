import Testing

/// Lets only a few tests of the relay run at once. Each has threads of its own by the dozen, and a hundred such tests
/// would make each other's limits run out.
struct Turns: SuiteTrait, TestTrait, TestScoping {
    fileprivate static let places = 4
    private static let gate = Gate(places: places)

    fileprivate let places: Int
    /// Whether each test of a suite takes a turn, or the suite as a whole.
    let isRecursive: Bool

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Self.gate.enter(places)
        do {
            try await function()
        } catch {
            await Self.gate.leave(places)
            throw error
        }
        await Self.gate.leave(places)
    }
}

extension Trait where Self == Turns {
    static var fewAtOnce: Turns { Turns(places: 1, isRecursive: true) }

    /// For suites whose tests are processes: to wait for one holds a thread of the pool that all tests share, which has as
    /// many as there are cores.
    static var alone: Turns { Turns(places: Turns.places, isRecursive: false) }
}

private actor Gate {
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
