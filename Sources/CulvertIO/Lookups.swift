import Glibc
import Synchronization

/// Look-ups that were asked for and not answered, and the threads that make them: at most a few at a time, which end when
/// nothing is left to look up.
///
/// Who asks for what is being looked up gets that answer. So one name takes one thread and one place in the queue, however
/// often it is asked for and given up.
final class Lookups: Sendable {
    typealias Answer = Result<[SocketAddress], IOError>
    typealias Deliver = @Sendable (Answer) -> Void

    struct Question: Hashable, Sendable {
        var host: String
        var port: UInt16
    }

    /// One who asked.
    struct Ticket: Sendable {
        fileprivate let question: Question
        fileprivate let number: UInt64
    }

    private struct Work {
        /// Who waits for each answer. Nobody may, if a thread is at it.
        var asking: [Question: [UInt64: Deliver]] = [:]
        /// What no thread has begun with, in order. Somebody asks for each.
        var waiting: [Question] = []
        var threads = 0
        var lastTicket: UInt64 = 0
    }

    /// Enough that one dead name server does not hold up every name, few enough that a burst of opens starts no crowd.
    private static let mostThreads = 4

    private let answer: @Sendable (Question) -> Answer
    private let work = Mutex(Work())

    /// - Parameter answer: looks up, and may block.
    init(answer: @escaping @Sendable (Question) -> Answer) { self.answer = answer }

    /// Questions that no thread has begun with.
    var waiting: Int { work.withLock { $0.waiting.count } }

    /// - Parameter deliver: called once on any thread, unless cancelled.
    func ask(_ question: Question, _ deliver: @escaping Deliver) -> Ticket {
        let (ticket, needsThread) = work.withLock { work in
            work.lastTicket += 1
            let ticket = Ticket(question: question, number: work.lastTicket)
            let isNew = work.asking[question] == nil
            work.asking[question, default: [:]][ticket.number] = deliver
            guard isNew else { return (ticket, false) }
            work.waiting.append(question)
            guard work.threads < Self.mostThreads else { return (ticket, false) }
            work.threads += 1
            return (ticket, true)
        }
        if needsThread { startThread() }
        return ticket
    }

    /// Its `deliver` is not called any more, if it was not already.
    func cancel(_ ticket: Ticket) {
        work.withLock { work in
            work.asking[ticket.question]?[ticket.number] = nil
            guard work.asking[ticket.question]?.isEmpty ?? false,
                let index = work.waiting.firstIndex(of: ticket.question)
            else { return }
            work.waiting.remove(at: index)
            work.asking[ticket.question] = nil
        }
    }

    private func startThread() {
        let context = Unmanaged.passRetained(self)
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, { context in
            let lookups = Unmanaged<Lookups>.fromOpaque(context!).takeRetainedValue()
            while let question = lookups.next() { lookups.deliver(lookups.answer(question), to: question) }
            return nil
        }, context.toOpaque())
        if result == 0 {
            pthread_detach(thread)
            return
        }
        context.release()
        // In the place of that thread, answer what waits.
        while let question = next() {
            deliver(.failure(IOError(errno: result, operation: "start a thread to look up '\(question.host)'")), to: question)
        }
    }

    /// Nil tells the calling thread to end.
    private func next() -> Question? {
        work.withLock { work in
            guard !work.waiting.isEmpty else {
                work.threads -= 1
                return nil
            }
            return work.waiting.removeFirst()
        }
    }

    private func deliver(_ answer: Answer, to question: Question) {
        let asking = work.withLock { $0.asking.removeValue(forKey: question) } ?? [:]
        for deliver in asking.values { deliver(answer) }
    }
}
