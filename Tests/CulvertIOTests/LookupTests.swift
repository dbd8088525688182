import Dispatch
import Synchronization
import Testing

@testable import CulvertIO

/// Names that nobody answers for a while.
@Suite struct LookupTests {
    /// Look-ups that end when a test lets them, with an error that says what was asked.
    private final class Scene: Sendable {
        let begun = Inbox<String>()
        let answers = Inbox<String>()
        private let gate = DispatchSemaphore(value: 0)
        let lookups: Lookups

        init() {
            let begun = begun, gate = gate
            lookups = Lookups { question in
                begun.put(question.host)
                gate.wait()
                return .failure(IOError(errno: 1, operation: question.host))
            }
        }

        @discardableResult
        func ask(_ host: String, as who: String = "somebody") -> Lookups.Ticket {
            lookups.ask(Lookups.Question(host: host, port: 1)) { [answers] result in
                if case .failure(let error) = result { answers.put("\(who): \(error.operation)") }
            }
        }

        func letGo(_ count: Int) { for _ in 0..<count { gate.signal() } }
    }

    /// A peer may open streams to a slow name and reset them as fast as it likes.
    @Test func whatWasCancelledTakesNoPlace() throws {
        let scene = Scene()
        for _ in 0..<10_000 { scene.lookups.cancel(scene.ask("slow")) }
        #expect(scene.lookups.waiting == 0)
        for number in 0..<10_000 { scene.lookups.cancel(scene.ask("name \(number)")) }
        #expect(scene.lookups.waiting == 0)
        scene.ask("good", as: "a peer")
        scene.letGo(100)
        #expect(try scene.answers.take() == "a peer: good")
        try eventually("nothing waits") { scene.lookups.waiting == 0 }
    }

    @Test func whoAsksForTheSameGetsTheSameAnswer() throws {
        let scene = Scene()
        scene.ask("slow", as: "first")
        #expect(try scene.begun.take() == "slow")
        let second = scene.ask("slow", as: "second")
        scene.ask("slow", as: "third")
        scene.lookups.cancel(second)
        #expect(scene.lookups.waiting == 0)
        scene.letGo(1)
        #expect(try Set(scene.answers.take(count: 2)) == ["first: slow", "third: slow"])
        // What was answered is asked for anew.
        scene.ask("slow", as: "fourth")
        scene.letGo(1)
        #expect(try scene.answers.take() == "fourth: slow")
        #expect(scene.answers.isEmpty)
    }

    @Test func aNameThatIsLookedUpForNobodyIsJoined() throws {
        let scene = Scene()
        let first = scene.ask("slow")
        #expect(try scene.begun.take() == "slow")
        scene.lookups.cancel(first)
        scene.ask("slow", as: "second")
        scene.letGo(1)
        #expect(try scene.answers.take() == "second: slow")
        #expect(scene.begun.isEmpty)
    }
}
