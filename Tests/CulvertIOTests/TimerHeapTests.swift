import Testing

@testable import CulvertIO

@Suite struct TimerHeapTests {
    /// Random additions, removals and advances of time, beside a sorted array that does the same the slow way.
    @Test(arguments: 1...20) func agreesWithASortedList(seed: UInt64) {
        struct Expected {
            var deadline: UInt64
            var number: Int
            var handle: TimerHandle
        }
        var random = SeededGenerator(seed: seed)
        var heap = TimerHeap()
        var expected: [Expected] = []
        var handles: [TimerHandle] = []
        var ran: [Int] = []
        var shouldHaveRun: [Int] = []
        var now: UInt64 = 0

        for number in 0..<2000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let deadline = now + UInt64.random(in: 0..<50, using: &random)
                let handle = heap.add(deadline: deadline) { ran.append(number) }
                handles.append(handle)
                expected.append(Expected(deadline: deadline, number: number, handle: handle))
            case 5..<8:
                // Often a timer that ran or was removed before, whose slot another one has by now.
                guard let handle = handles.randomElement(using: &random) else { continue }
                let index = expected.firstIndex { $0.handle == handle }
                #expect((heap.remove(handle) != nil) == (index != nil), "seed \(seed)")
                if let index { expected.remove(at: index) }
            default:
                now += UInt64.random(in: 0..<20, using: &random)
                let due = expected.filter { $0.deadline <= now }.sorted { ($0.deadline, $0.number) < ($1.deadline, $1.number) }
                shouldHaveRun += due.map(\.number)
                expected.removeAll { $0.deadline <= now }
                while let body = heap.popDue(at: now, addedBefore: .max) { body() }
            }
            #expect(heap.count == expected.count, "seed \(seed)")
            #expect(heap.nextDeadline == expected.map(\.deadline).min(), "seed \(seed)")
        }
        #expect(ran == shouldHaveRun, "seed \(seed)")
    }

    @Test func releasesABodyWhenItsTimerIsRemoved() {
        final class Held {}
        var heap = TimerHeap()
        weak var held: Held?
        let handle = {
            let object = Held()
            held = object
            return heap.add(deadline: 1) { _ = object }
        }()
        #expect(held != nil)
        _ = heap.remove(handle)
        #expect(held == nil)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
