import CLinux
import Glibc
import Synchronization

/// One thread that waits for descriptors, timers and messages, and calls what they belong to.
///
/// An iteration waits; handles the events; runs the messages of other threads, then the timers that are due, then the
/// enqueued tasks. All state but the mailbox belongs to that thread and everything it calls runs there, one after the
/// other; every member that touches it checks the thread.
///
/// Unchecked, because the compiler cannot see that a loop is one thread.
public final class EventLoop: @unchecked Sendable {
    private struct Mailbox {
        var bodies: [@Sendable () -> Void] = []
        var isClosed = false
    }

    private enum Lifetime {
        case created
        case running(pthread_t)
        case ended
    }

    public let name: String
    private let epoll: Descriptor
    /// Edge-triggered: each write wakes the loop once, and nobody ever has to read it empty.
    private let alarm: Descriptor
    private let mailbox = Mutex(Mailbox())
    private let lifetime = Mutex(Lifetime.created)
    /// The loop's thread while it runs, else 0.
    private let owner = Atomic<UInt>(0)

    // Only the loop's thread touches the rest.
    private static let eventCapacity = 256
    /// Nanoseconds; what takes less is the system call itself.
    private static let shortestWait: UInt64 = 5000
    private let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: EventLoop.eventCapacity)
    private var handlers = HandlerTable()
    private var timers = TimerHeap()
    private var tasks: [any LoopTask] = []
    // The array that the last batch was taken from, empty; it goes back to collect the next one.
    private var spareTasks: [any LoopTask] = []
    private var spareBodies: [@Sendable () -> Void] = []
    private var iterationStart: UInt64 = 0
    private var waited: UInt64 = 0

    /// - Parameter name: of the thread, as `ps -L` and `perf` show it; Linux keeps 15 bytes.
    public init(name: String) throws(IOError) {
        self.name = name
        epoll = try Self.open("make an epoll instance", clinux_epoll_create())
        alarm = try Self.open("make an eventfd", clinux_eventfd())
        let result = clinux_epoll_add(epoll.rawValue, alarm.rawValue, Self.inputEdge, HandlerTable.reserved)
        guard result == 0 else { throw IOError(errno: -result, operation: "watch an eventfd") }
    }

    deinit {
        events.deallocate()
    }

    private static func open(_ operation: String, _ result: CInt) throws(IOError) -> Descriptor {
        guard result >= 0 else { throw IOError(errno: -result, operation: operation) }
        return Descriptor(adopting: result)
    }
}

// MARK: From any thread

extension EventLoop {
    /// Starts the thread. Once only.
    public func start() {
        lifetime.withLock { lifetime in
            guard case .created = lifetime else { preconditionFailure("loop \(name) was started or stopped before") }
            var thread = pthread_t()
            let context = Unmanaged.passRetained(self).toOpaque()
            let result = pthread_create(&thread, nil, { context in
                Unmanaged<EventLoop>.fromOpaque(context!).takeRetainedValue().runThread()
                return nil
            }, context)
            precondition(result == 0, "no thread for loop \(name): \(IOError(errno: result, operation: "pthread_create"))")
            lifetime = .running(thread)
        }
    }

    /// Ends the loop and waits for its thread. If it was started, every body accepted by `execute` runs before; handlers,
    /// timers and tasks that are left are released on the loop's thread and not called. Idempotent; not from the loop itself.
    public func stop() {
        precondition(!isCurrent, "loop \(name) cannot wait for its own end")
        mailbox.withLock { $0.isClosed = true }
        lifetime.withLock { lifetime in
            if case .running(let thread) = lifetime {
                wake()
                pthread_join(thread, nil)
            }
            lifetime = .ended
        }
    }

    /// Runs `body` on the loop, after the bodies handed over before. Returns false, and never runs it, once the loop has
    /// been told to stop.
    @discardableResult
    public func execute(_ body: @escaping @Sendable () -> Void) -> Bool {
        let (accepted, isFirst) = mailbox.withLock { mailbox in
            guard !mailbox.isClosed else { return (false, false) }
            mailbox.bodies.append(body)
            return (true, mailbox.bodies.count == 1)
        }
        // Whoever fills an empty mailbox wakes the loop; those who add to it before it is emptied need not.
        if isFirst { wake() }
        return accepted
    }

    public var isCurrent: Bool {
        owner.load(ordering: .relaxed) == pthread_self()
    }

    public func preconditionCurrent() {
        precondition(isCurrent, "called on another thread than that of loop \(name)")
    }

    /// CLOCK_MONOTONIC in nanoseconds, read now.
    public static var monotonicNow: UInt64 { read(CLOCK_MONOTONIC) }

    /// Nanoseconds that this thread has had a processor. A system call, unlike `monotonicNow`.
    public static var processorTime: UInt64 { read(CLOCK_THREAD_CPUTIME_ID) }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private func wake() {
        var one: UInt64 = 1
        let result = Glibc.write(alarm.rawValue, &one, MemoryLayout<UInt64>.size)
        precondition(result > 0, "an eventfd is full after 2^64 writes only")
    }
}

// MARK: On the loop

extension EventLoop {
    /// `monotonicNow` when this iteration's wait ended.
    public var now: UInt64 {
        preconditionCurrent()
        return iterationStart
    }

    /// Nanoseconds in which this loop had nothing to do, so far. On a busy host they include what its thread waited for a
    /// processor after an event.
    public var idle: UInt64 {
        preconditionCurrent()
        return waited
    }

    /// Watches both directions, edge-triggered; what is ready already is reported in the next iteration. The loop keeps
    /// `handler` until `deregister`, which must come before the descriptor is closed.
    public func register(_ descriptor: borrowing Descriptor, _ handler: any EventHandler) throws(IOError) -> Registration {
        try register(descriptor.rawValue, handler)
    }

    func register(_ descriptor: CInt, _ handler: any EventHandler) throws(IOError) -> Registration {
        preconditionCurrent()
        let token = handlers.insert(handler, descriptor: descriptor)
        let result = clinux_epoll_add(epoll.rawValue, descriptor, Self.bothEdges, token)
        guard result == 0 else {
            _ = handlers.remove(token)
            precondition(result != -EEXIST, "descriptor \(descriptor) is registered twice")
            throw IOError(errno: -result, operation: "watch descriptor \(descriptor)")
        }
        return Registration(token: token)
    }

    /// From now on the handler is not called, not even for events that were fetched already.
    public func deregister(_ registration: Registration) {
        preconditionCurrent()
        // The loop may be ending, and have let go of everything.
        guard let removed = handlers.remove(registration.token) else { return }
        let result = clinux_epoll_remove(epoll.rawValue, removed.descriptor)
        precondition(result == 0, "descriptor \(removed.descriptor) was closed before it was deregistered")
    }

    /// Calls `body` once, in the first iteration that starts `delay` after this one or later.
    @discardableResult
    public func schedule(after delay: Duration, _ body: @escaping () -> Void) -> TimerHandle {
        preconditionCurrent()
        return timers.add(deadline: iterationStart + delay.nanoseconds, body)
    }

    /// Does nothing if the timer has run or was cancelled.
    public func cancel(_ timer: TimerHandle) {
        preconditionCurrent()
        _ = timers.remove(timer)
    }

    /// Runs `task` at the end of this iteration; what a running task enqueues runs at the end of the next, which then does
    /// not wait for events. A task enqueued twice runs twice.
    public func enqueue(_ task: any LoopTask) {
        preconditionCurrent()
        tasks.append(task)
    }
}

// MARK: The thread

extension EventLoop {
    private static var inputEdge: UInt32 { EPOLLIN.rawValue | EPOLLET.rawValue }
    private static var bothEdges: UInt32 { inputEdge | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue }

    private func runThread() {
        clinux_name_current_thread(String(decoding: name.utf8.prefix(15), as: UTF8.self))
        Self.blockPipeSignal()
        owner.store(pthread_self(), ordering: .relaxed)
        while runIteration() {}
        releaseEverything()
        owner.store(0, ordering: .relaxed)
    }

    /// `splice` has no flag that spares this thread the signal when the other end of a socket is gone.
    private static func blockPipeSignal() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// False once the loop is to end.
    private func runIteration() -> Bool {
        let waitStart = Self.monotonicNow
        let count = clinux_epoll_wait(epoll.rawValue, events, CInt(Self.eventCapacity), waitMilliseconds(from: waitStart))
        precondition(count >= 0 || count == -EINTR, "\(IOError(errno: -count, operation: "epoll_wait"))")
        iterationStart = Self.monotonicNow
        if tasks.isEmpty, iterationStart - waitStart > Self.shortestWait { waited += iterationStart - waitStart }

        var isWoken = false
        for index in 0..<Int(max(count, 0)) {
            let token = events[index].data.u64
            if token == HandlerTable.reserved {
                isWoken = true
            } else if let handler = handlers.handler(token) {
                handler.ready(ReadyEvents(epoll: events[index].events))
            }
        }
        let goesOn = isWoken ? runBodies() : true
        runTimers()
        runTasks()
        return goesOn
    }

    /// How long nothing is due; -1 for ever. Rounded up, or the loop would spin through a timer's last millisecond.
    private func waitMilliseconds(from now: UInt64) -> CInt {
        guard tasks.isEmpty else { return 0 }
        guard let deadline = timers.nextDeadline else { return -1 }
        return deadline <= now ? 0 : CInt(clamping: (deadline - now + 999_999) / 1_000_000)
    }

    private func runBodies() -> Bool {
        var bodies = spareBodies
        spareBodies = []
        let isClosed = mailbox.withLock { mailbox in
            swap(&bodies, &mailbox.bodies)
            return mailbox.isClosed
        }
        for body in bodies { body() }
        bodies.removeAll(keepingCapacity: true)
        spareBodies = bodies
        return !isClosed
    }

    /// Those scheduled meanwhile wait for the next iteration, even if they are due: others have their turn in between.
    private func runTimers() {
        let limit = timers.nextSequence
        while let body = timers.popDue(at: iterationStart, addedBefore: limit) { body() }
    }

    private func runTasks() {
        guard !tasks.isEmpty else { return }
        var running = spareTasks
        spareTasks = []
        swap(&running, &tasks)
        for task in running { task.run() }
        running.removeAll(keepingCapacity: true)
        spareTasks = running
    }

    /// On this thread, because what is released may still call the loop.
    private func releaseEverything() {
        _ = exchange(&handlers, with: HandlerTable())
        _ = exchange(&timers, with: TimerHeap())
        _ = exchange(&tasks, with: [])
    }
}
