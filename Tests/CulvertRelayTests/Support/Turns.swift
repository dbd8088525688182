import Testing

/// Lets only a few tests of the relay run at once. Each has threads of its own by the dozen, and a hundred such tests
/// would make each other's limits run out.
struct Turns: SuiteTrait, TestTrait, TestScoping {
    private static let gate = Gate(places: 4)

    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Self.gate.enter()
        do {
            try await function()
        } catch {
            await Self.gate.leave()
            throw error
        }
        await Self.gate.leave()
    }
}

extension Trait where Self == Turns {
    static var fewAtOnce: Turns { Turns() }
}

private actor Gate {
    private var places: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(places: Int) { self.places = places }

    func enter() async {
        guard places == 0 else {
            places -= 1
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    /// The first who waits gets the place.
    func leave() {
        if waiting.isEmpty { places += 1 } else { waiting.removeFirst().resume() }
    }
}
