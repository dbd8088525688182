import Foundation
import Synchronization
import Testing

@testable import CulvertIO

@Suite struct EventLoopTests {
    // MARK: Mailbox

    @Test func runsBodiesInOrderOnItsOwnThread() throws {
        try withLoop { loop in
            let inbox = Inbox<Int>()
            for number in 0..<1000 {
                loop.execute {
                    loop.preconditionCurrent()
                    inbox.put(number)
                }
            }
            try #expect(inbox.take(count: 1000) == Array(0..<1000))
            #expect(!loop.isCurrent)
        }
    }

    @Test func keepsTheOrderOfEachOfManyThreads() throws {
        try withLoop { loop in
            let inbox = Inbox<(thread: Int, number: Int)>()
            let threads = (0..<8).map { thread in
                Thread {
                    for number in 0..<500 { loop.execute { inbox.put((thread, number)) } }
                }
            }
            threads.forEach { $0.start() }
            let received = try inbox.take(count: 8 * 500)
            for thread in 0..<8 {
                #expect(received.filter { $0.thread == thread }.map(\.number) == Array(0..<500))
            }
        }
    }

    @Test func neverNestsABodyInAnother() throws {
        try withLoop { loop in
            let inbox = Inbox<String>()
            loop.execute {
                loop.execute { inbox.put("inner") }
                inbox.put("outer")
            }
            try #expect(inbox.take(count: 2) == ["outer", "inner"])
        }
    }

    // MARK: Tasks

    final class Task: LoopTask {
        private let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
        func run() { body() }
    }

    @Test func runsTasksLastAndTasksOfTasksInTheNextIteration() throws {
        try withLoop { loop in
            let inbox = Inbox<String>()
            loop.execute {
                loop.enqueue(Task {
                    inbox.put("task")
                    loop.enqueue(Task { inbox.put("task of the task") })
                    loop.execute { inbox.put("body of the task") }
                })
                loop.schedule(after: .zero) { inbox.put("timer") }
                inbox.put("body")
            }
            try #expect(inbox.take(count: 5) == ["body", "timer", "task", "body of the task", "task of the task"])
        }
    }

    @Test func runsATaskAsOftenAsItWasEnqueued() throws {
        try withLoop { loop in
            let inbox = Inbox<Int>()
            loop.execute {
                let first = Task { inbox.put(1) }, second = Task { inbox.put(2) }
                loop.enqueue(first)
                loop.enqueue(second)
                loop.enqueue(first)
            }
            try #expect(inbox.take(count: 3) == [1, 2, 1])
            try loop.sync {}
            #expect(inbox.isEmpty)
        }
    }

    // MARK: Timers

    @Test func runsTimersInOrderAndNeverEarly() throws {
        try withLoop { loop in
            let inbox = Inbox<(delay: Int, early: Bool)>()
            loop.execute {
                for delay in [30, 10, 20, 0, 10] {
                    let due = loop.now + UInt64(delay) * 1_000_000
                    loop.schedule(after: .milliseconds(delay)) { inbox.put((delay, EventLoop.monotonicNow < due)) }
                }
            }
            let ran = try inbox.take(count: 5)
            #expect(ran.map(\.delay) == [0, 10, 10, 20, 30])
            #expect(!ran.contains { $0.early })
        }
    }

    @Test func letsOthersRunBetweenTimersThatScheduleThemselvesAtOnce() throws {
        try withLoop { loop in
            let inbox = Inbox<String>()
            let isOver = Mutex(false)
            loop.execute {
                func again() {
                    if !isOver.withLock({ $0 }) { loop.schedule(after: .zero, again) }
                }
                again()
                inbox.put("started")
            }
            _ = try inbox.take()
            try loop.sync { isOver.withLock { $0 = true } }
        }
    }

    @Test func cancelsTimers() throws {
        try withLoop { loop in
            let inbox = Inbox<String>()
            loop.execute {
                let distant = loop.schedule(after: .seconds(Int64.max)) { inbox.put("distant") }
                loop.cancel(distant)
                loop.cancel(distant)
                // Both are due in one iteration, and the first to run cancels the other, which then must not run.
                var second: TimerHandle?
                let first = loop.schedule(after: .milliseconds(1)) {
                    inbox.put("first")
                    if let second { loop.cancel(second) }
                }
                second = loop.schedule(after: .milliseconds(1)) { inbox.put("second") }
                loop.schedule(after: .milliseconds(2)) {
                    // It ran, and its slot may belong to this timer now.
                    loop.cancel(first)
                    loop.schedule(after: .milliseconds(1)) { inbox.put("last") }
                    loop.cancel(first)
                }
            }
            try #expect(inbox.take(count: 2) == ["first", "last"])
        }
    }

    // MARK: Idleness

    /// What ran is no part of it: a body is kept at work between the first two timers.
    @Test func countsAsIdleWhatItWaits() throws {
        try withLoop { loop in
            let inbox = Inbox<(elapsed: UInt64, idle: UInt64)>()
            let work: UInt64 = 20_000_000, wait: UInt64 = 50_000_000
            loop.execute {
                let start = (now: loop.now, idle: loop.idle)
                // A wait begins late where the machine is loaded, so one alone may be short.
                func look() {
                    let idle = loop.idle - start.idle
                    inbox.put((loop.now - start.now, idle))
                    if idle < wait { loop.schedule(after: .milliseconds(5), look) }
                }
                loop.schedule(after: .milliseconds(5), look)
                while EventLoop.monotonicNow - start.now < work {}
            }
            var seen = try inbox.take("a timer")
            while seen.idle < wait {
                #expect(seen.idle + work <= seen.elapsed)
                seen = try inbox.take("a timer")
            }
            #expect(seen.idle + work <= seen.elapsed)
        }
    }

    @Test func isNotIdleWhileATaskIsEnqueued() throws {
        final class Restless: LoopTask {
            let loop: EventLoop
            let inbox: Inbox<UInt64>
            let end = EventLoop.monotonicNow + 20_000_000

            init(_ loop: EventLoop, _ inbox: Inbox<UInt64>) { (self.loop, self.inbox) = (loop, inbox) }

            func run() {
                if EventLoop.monotonicNow < end { loop.enqueue(self) } else { inbox.put(loop.idle) }
            }
        }
        try withLoop { loop in
            let inbox = Inbox<UInt64>()
            loop.execute {
                inbox.put(loop.idle)
                loop.enqueue(Restless(loop, inbox))
            }
            let idle = try inbox.take(count: 2)
            #expect(idle[0] == idle[1])
        }
    }

    // MARK: Events

    final class Recorder: EventHandler {
        var record: (ReadyEvents) -> Void
        init(_ record: @escaping (ReadyEvents) -> Void = { _ in }) { self.record = record }
        func ready(_ events: ReadyEvents) { record(events) }
    }

    @Test func reportsEachChangeOnce() throws {
        try withLoop { loop in
            let pair = try Descriptor.pair()
            let near = pair.first, far = pair.second
            let inbox = Inbox<ReadyEvents>()
            let raw = near.rawValue
            let registration = try loop.sync {
                return try loop.register(raw, Recorder { inbox.put($0) })
            }
            try #expect(inbox.take() == .writable)
            #expect(far.write("x") == .bytes(1))
            try #expect(inbox.take() == [.readable, .writable])
            // It stays readable, which is no change.
            try loop.sync {}
            #expect(inbox.isEmpty)
            far.shutdownWrite()
            try #expect(inbox.take() == [.readable, .writable])
            _ = consume far
            try #expect(inbox.take() == [.readable, .writable, .hangup])
            try loop.sync { loop.deregister(registration) }
        }
    }

    /// Both ends of two pairs are ready in one batch. The handler called first deregisters and closes the other's
    /// descriptor and opens a new one, which gets the same number and the same slot: the old event must reach nobody.
    @Test func dropsEventsOfRegistrationsThatAreGone() throws {
        final class Scene {
            var sockets: [Int: (descriptor: Transferred<Descriptor>, registration: Registration)] = [:]
        }
        try withLoop { loop in
            let inbox = Inbox<String>()
            loop.execute {
                let scene = Scene()
                func open(_ name: Int, _ handler: any EventHandler) {
                    let pair = try! Descriptor.pair()
                    _ = pair.second.write("x")
                    let registration = try! loop.register(pair.first, handler)
                    scene.sockets[name] = (Transferred(pair.first), registration)
                }
                func close(_ name: Int) {
                    guard let socket = scene.sockets.removeValue(forKey: name) else { return }
                    loop.deregister(socket.registration)
                    _ = socket.descriptor.take()
                }
                func handler(_ name: Int, closing other: Int) -> Recorder {
                    Recorder { _ in
                        inbox.put("old")
                        close(other)
                        let pair = try! Descriptor.pair()
                        let registration = try! loop.register(pair.first, Recorder { events in
                            // Nothing was written to it, so readable would be the old descriptor's event.
                            inbox.put(events == .writable ? "new" : "stale")
                            close(3)
                        })
                        scene.sockets[3] = (Transferred(pair.first), registration)
                        scene.sockets[4] = (Transferred(pair.second), registration)
                        close(name)
                    }
                }
                open(1, handler(1, closing: 2))
                open(2, handler(2, closing: 1))
            }
            try #expect(inbox.take(count: 2) == ["old", "new"])
            try loop.sync {}
            #expect(inbox.isEmpty)
        }
    }

    @Test func keepsAHandlerUntilItIsDeregistered() throws {
        try withLoop { loop in
            let pair = try Descriptor.pair()
            let raw = pair.first.rawValue
            let outcome = try loop.sync {
                weak var handler: Recorder?
                let registration = try {
                    let recorder = Recorder()
                    handler = recorder
                    return try loop.register(raw, recorder)
                }()
                let isKept = handler != nil
                loop.deregister(registration)
                loop.deregister(registration)
                return [isKept, handler == nil]
            }
            #expect(outcome == [true, true])
            _ = consume pair
        }
    }

    @Test func refusesWhatCannotBeWatched() throws {
        try withLoop { loop in
            let error = #expect(throws: IOError.self) {
                try loop.sync {
                    let file = Descriptor(adopting: open("/etc/passwd", O_RDONLY))
                    _ = try loop.register(file, Recorder())
                }
            }
            #expect(error?.name == "EPERM")
        }
    }

    // MARK: Lifetime

    @Test func runsWhatItAcceptedBeforeItStops() throws {
        let loop = try EventLoop(name: "stopping")
        let inbox = Inbox<Int>()
        #expect(loop.execute { inbox.put(0) })
        loop.start()
        for number in 1..<100 { #expect(loop.execute { inbox.put(number) }) }
        loop.stop()
        try #expect(inbox.take(count: 100) == Array(0..<100))
        #expect(!loop.execute { inbox.put(100) })
        loop.stop()
        #expect(inbox.isEmpty)
    }

    @Test func stopsForSeveralThreadsAtOnce() throws {
        let loop = try EventLoop(name: "stopping")
        loop.start()
        let inbox = Inbox<Bool>()
        for _ in 0..<4 {
            Thread {
                loop.stop()
                inbox.put(loop.execute {})
            }.start()
        }
        try #expect(inbox.take(count: 4) == [false, false, false, false])
    }

    @Test func releasesEverythingWhenItStops() throws {
        final class Held {
            let inbox: Inbox<Bool>
            let loop: EventLoop
            init(_ inbox: Inbox<Bool>, _ loop: EventLoop) { (self.inbox, self.loop) = (inbox, loop) }
            deinit { inbox.put(loop.isCurrent) }
        }
        let loop = try EventLoop(name: "stopping")
        loop.start()
        let inbox = Inbox<Bool>()
        let pair = try Descriptor.pair()
        let raw = pair.first.rawValue
        try loop.sync {
            let handler = Held(inbox, loop), timer = Held(inbox, loop)
            _ = try loop.register(raw, Recorder { _ in _ = handler })
            loop.schedule(after: .seconds(3600)) { _ = timer }
        }
        #expect(inbox.isEmpty)
        loop.stop()
        try #expect(inbox.take(count: 2) == [true, true])
        _ = consume pair
    }

    @Test func trapsOnAnotherThread() async {
        await #expect(processExitsWith: .failure) {
            let loop = try EventLoop(name: "elsewhere")
            loop.start()
            loop.schedule(after: .zero) {}
        }
        await #expect(processExitsWith: .failure) {
            let loop = try EventLoop(name: "elsewhere")
            loop.start()
            _ = LoopBound(1, loop: loop).value
        }
    }

    @Test func trapsWhenItWouldWaitForItself() async {
        await #expect(processExitsWith: .failure) {
            let loop = try EventLoop(name: "waiting")
            loop.start()
            try loop.sync { loop.stop() }
        }
    }

    // MARK: Crossing loops

    @Test func movesADescriptorAndAnObjectToAnotherLoop() throws {
        final class Luggage {
            var text = "packed"
        }
        try withLoop { first in
            try withLoop { second in
                let inbox = Inbox<String>()
                let pair = try Descriptor.pair()
                let far = pair.second
                let near = Transferred(pair.first)
                first.execute {
                    let luggage = Transferred(Luggage())
                    second.execute {
                        let socket = near.take()
                        inbox.put(luggage.take().text)
                        _ = socket.write("from the second loop")
                    }
                }
                try #expect(inbox.take() == "packed")
                try #expect(far.readToEnd() == ("from the second loop", .endOfStream))
            }
        }
    }

    @Test func closesADescriptorThatNobodyTook() throws {
        let pair = try Descriptor.pair()
        let far = pair.second
        do { _ = Transferred(pair.first) }
        try #expect(far.readToEnd() == ("", .endOfStream))
    }

    @Test func trapsWhenAValueIsTakenTwice() async {
        await #expect(processExitsWith: .failure) {
            let box = Transferred(1)
            _ = (box.take(), box.take())
        }
    }
}
