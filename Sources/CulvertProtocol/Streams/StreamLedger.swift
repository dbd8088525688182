/// How many streams of a session are not over, by the side that opened them, and the budget that their memory counts in.
///
/// Each stream writes itself off when nothing of it is left to deliver, at the latest when it is freed: bytes that stay
/// readable beyond a reset, or beyond the session, stay counted.
final class StreamLedger {
    let budget: MemoryBudget
    var own = 0
    var peer = 0

    init(budget: MemoryBudget) { self.budget = budget }
}
