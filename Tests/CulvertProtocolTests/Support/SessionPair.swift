import Glibc
import Testing

@testable import CulvertProtocol

/// What lies between two sessions and how their owners behave; everything that is random comes from the pair's seed.
struct Weather {
    enum Cut { case whole, pieces, crumbs }

    /// How the byte stream is cut where it arrives.
    var cut = Cut.whole
    /// One way, in nanoseconds.
    var latency: UInt64 = 50_000
    /// Frames are put into the sink until this many bytes are there, at random less.
    var room = 256 << 10
    var randomRoom = false
    /// Bytes that the lane carries in each direction a second. Nil: no limit.
    var rate: UInt64?

    static func random(using random: inout Seeded) -> Weather {
        Weather(
            cut: [.whole, .pieces, .pieces, .crumbs][random.below(4)],
            latency: [0, 50_000, 2_000_000, 40_000_000][random.below(4)],
            room: [1, 20_000, 300_000][random.below(3)], randomRoom: random.chance(50))
    }
}

/// One of the two sessions, with what is on its way to it.
final class SessionEnd {
    let session: Session
    let pool = ChunkPool()
    let budget: MemoryBudget
    /// Told of every event.
    var onEvent: (SessionEvent) -> Void = { _ in }
    /// Takes what is offered, as `Session.Delivery`.
    var deliver: Session.Delivery = { _, _ in 0 }
    /// Does what the owner wants to do on its own; says whether it did anything.
    var act: () -> Bool = { false }

    fileprivate let sink = MemorySink()
    /// All bytes that it sent.
    private(set) var transmitted = 0

    init(_ configuration: SessionConfiguration, budget: Int, now: UInt64) {
        self.budget = MemoryBudget(limit: budget)
        session = Session(
            configuration: configuration, id: SessionID(high: 3, low: 4), pool: pool, budget: self.budget, now: now)
    }

    fileprivate func takeSent() -> [UInt8] {
        defer { sink.bytes = [] }
        transmitted += sink.bytes.count
        return sink.bytes
    }
}

/// One connection between the two sessions; index 0 is the dialler's side.
final class Wire {
    let lanes: [SessionLane]
    /// One way, in nanoseconds; nil: as the weather has it.
    var latency: UInt64?
    /// Nothing gets through, and nobody is told.
    var isBlocked = false
    fileprivate(set) var isCut = false
    /// By receiving side: ranges on their way; `position` is how much of the first has arrived.
    fileprivate var inbound: [[(due: UInt64, bytes: [UInt8])]] = [[], []]
    fileprivate var position = [0, 0]
    /// By sending side: when it takes more.
    fileprivate var free: [UInt64] = [0, 0]
    /// By sending side: all bytes that were put in.
    fileprivate(set) var carried = [0, 0]

    init(_ lanes: [SessionLane]) { self.lanes = lanes }
}

/// Two sessions that talk in memory, in virtual time.
final class SessionPair {
    let ends: [SessionEnd]
    let seed: UInt64
    var random: Seeded
    var weather: Weather
    private(set) var now: UInt64 = 1_000_000_000
    private(set) var wires: [Wire] = []
    /// Those that are not cut.
    private var alive: [Wire] = []
    /// Called at every step.
    var onStep: () -> Void = {}

    var dialler: SessionEnd { ends[0] }
    var listener: SessionEnd { ends[1] }

    init(
        seed: UInt64 = 0, weather: Weather = Weather(), budget: Int = 1 << 30,
        adjust: (inout SessionConfiguration) -> Void = { _ in }
    ) {
        self.seed = seed
        self.weather = weather
        random = Seeded(seed)
        let start = now
        ends = [SessionConfiguration.Role.dialler, .listener].map {
            var configuration = SessionConfiguration(role: $0, name: "\($0)")
            adjust(&configuration)
            return SessionEnd(configuration, budget: budget, now: start)
        }
        connect()
    }

    /// Makes a further connection.
    @discardableResult
    func connect(replacing old: Wire? = nil) -> Wire {
        let wire = Wire(ends.indices.map { ends[$0].session.addLane(replacing: $0 == 0 ? old?.lanes[0] : nil, now: now) })
        wires.append(wire)
        alive.append(wire)
        return wire
    }

    /// Loses a connection with everything that is on its way.
    /// - Parameter sides: who notices now; the others go on believing in it.
    func cut(_ wire: Wire, noticedBy sides: [Int] = [0, 1]) {
        forget(wire)
        for side in sides { ends[side].session.lose(wire.lanes[side], now: now) }
    }

    private func forget(_ wire: Wire?) {
        wire?.isCut = true
        alive.removeAll { $0 === wire }
    }

    /// Nothing comes through this lane any more.
    func isDead(_ lane: SessionLane) -> Bool { wires.contains { ($0.isCut || $0.isBlocked) && $0.lanes.contains { $0 === lane } } }

    /// Runs until both sides have heard the other's HELLO.
    func establish() { run("HELLO") { ends.allSatisfy { $0.session.peer != nil } } }

    /// Runs until `done`, or records a failure after `limit` nanoseconds of virtual time.
    func run(
        _ what: Comment, limit: UInt64 = 60_000_000_000, location: SourceLocation = #_sourceLocation,
        until done: () -> Bool
    ) {
        let end = now + limit
        while !done() {
            guard now < end else {
                Issue.record("\(what): not done in \(limit) ns, seed \(seed)", sourceLocation: location)
                return
            }
            step()
        }
    }

    /// Runs for a stretch of virtual time.
    func run(for nanoseconds: UInt64) {
        let end = now + nanoseconds
        while now < end { step() }
    }

    /// Runs until nothing is under way but pings.
    func settle() { run(for: 4 * weather.latency + 100_000_000) }

    private func step() {
        onStep()
        var progress = false
        for index in ends.indices {
            progress = handleEvents(ends[index]) || progress
            progress = ends[index].act() || progress
            for wire in alive {
                progress = transmit(from: index, on: wire) || progress
                progress = receive(at: index, on: wire) || progress
            }
        }
        if !progress { passTime() }
    }

    private func handleEvents(_ end: SessionEnd) -> Bool {
        var any = false
        while let event = end.session.nextEvent() {
            if case .replaced(let lane) = event { forget(wires.first { $0.lanes.contains { $0 === lane } }) }
            if case .silent(let lane) = event, isDead(lane) {
                end.session.lose(lane, now: now)
                forget(wires.first { $0.lanes.contains { $0 === lane } })
            }
            end.onEvent(event)
            any = true
        }
        return any
    }

    private func transmit(from index: Int, on wire: Wire) -> Bool {
        let end = ends[index]
        guard end.session.wantsToTransmit(on: wire.lanes[index]), wire.free[index] <= now else { return false }
        end.sink.room = weather.randomRoom ? 1 + random.below(weather.room) : weather.room
        end.session.transmit(on: wire.lanes[index], into: end.sink, now: now)
        let bytes = end.takeSent()
        guard !bytes.isEmpty else { return false }
        wire.carried[index] += bytes.count
        if let rate = weather.rate { wire.free[index] = now + UInt64(bytes.count) * 1_000_000_000 / rate }
        wire.inbound[1 - index].append((max(now, wire.free[index]) + (wire.latency ?? weather.latency), bytes))
        return true
    }

    private func receive(at index: Int, on wire: Wire) -> Bool {
        let end = ends[index]
        guard !wire.isBlocked, let first = wire.inbound[index].first, first.due <= now else { return false }
        let left = first.bytes.count - wire.position[index]
        let count =
            switch weather.cut {
            case .whole: left
            case .pieces: 1 + random.below(left)
            case .crumbs: min(left, 1 + random.below(40))
            }
        let range = copy(first.bytes[wire.position[index]..<wire.position[index] + count])
        defer { range.deallocate() }
        wire.position[index] += count
        if count == left {
            wire.inbound[index].removeFirst()
            wire.position[index] = 0
        }
        do { try end.session.receive(range, on: wire.lanes[index], now: now, deliver: end.deliver) } catch {
            Issue.record("\(error), seed \(seed)")
            wire.inbound[index] = []
        }
        return true
    }

    private func passTime() {
        let dues = alive.flatMap { $0.inbound.compactMap { $0.first?.due } + $0.free } + ends.map(\.session.deadline)
        let due = dues.filter { $0 > now }.min() ?? now + 1_000_000
        // Owners that wait for a chance, not for an event, get it every millisecond.
        now = min(due, now + 1_000_000)
        for end in ends where end.session.deadline <= now { end.session.advance(now: now) }
    }
}

extension SessionEnd {
    /// What is left where nothing should be.
    var leftovers: [String] {
        var found: [String] = []
        if session.streamCount != 0 { found.append("\(session.streamCount) streams counted") }
        if !session.table.isEmpty { found.append("\(session.table.count) streams in the table") }
        if !session.opens.isEmpty { found.append("opens waiting") }
        if budget.used != 0 { found.append("\(budget.used) bytes in the budget") }
        if pool.inUse != 0 { found.append("\(pool.inUse) bytes in use") }
        return found
    }
}
