import CulvertIO
import CulvertProtocol

/// The pipe of one bypass. What it may hold counts in the session's memory for as long as it is there.
final class BypassPipe {
    var splice: Splice
    private let budget: MemoryBudget

    init(_ budget: MemoryBudget) throws(BypassFailure) {
        do throws(IOError) {
            splice = try Splice()
        } catch {
            throw BypassFailure(error.description)
        }
        guard budget.claim(splice.capacity) else {
            throw BypassFailure("a pipe of \(splice.capacity) bytes is more than 'limits' leaves the session")
        }
        self.budget = budget
    }

    deinit { budget.release(splice.capacity) }
}
