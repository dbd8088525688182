import Glibc
import Testing

@testable import CulvertProtocol

/// A session whose peer is the test: frames go in as they are written down, frames come out decoded, time stands still
/// unless it is told to pass.
final class ScriptedPeer {
    let session: Session
    /// The first one; more with `session.addLane`.
    let lane: SessionLane
    let pool = ChunkPool()
    let budget: MemoryBudget
    var now: UInt64 = 1_000_000_000
    /// How many of the offered bytes the local side takes at once.
    var take: (Int) -> Int = { $0 }
    /// Called in place of taking, for tests that act while bytes are on offer.
    var onDelivery: ((SessionStream) -> Void)?
    /// What was taken by the local side, by stream.
    private(set) var taken: [UInt64: [UInt8]] = [:]
    private let sink = MemorySink()

    /// - Parameter established: HELLOs are exchanged, and the frames and events of that are dropped.
    init(
        _ role: SessionConfiguration.Role = .dialler, established: Bool = true, streamWindow: Int = 8 << 20,
        maximumStreams: Int = 100, peerMaximumStreams: UInt32 = 100, initialCredit: UInt64 = 64 << 10,
        budget: Int = 1 << 30
    ) throws {
        let configuration = SessionConfiguration(
            role: role, name: "here", streamWindow: streamWindow, maximumStreams: maximumStreams)
        self.budget = MemoryBudget(limit: budget)
        session = Session(
            configuration: configuration, id: SessionID(high: 1, low: 2), pool: pool, budget: self.budget, now: now)
        lane = session.addLane(now: now)
        guard established else { return }
        try hear(.hello(hello(maximumStreams: peerMaximumStreams, initialCredit: initialCredit)))
        _ = said()
        _ = events()
    }

    /// The peer's HELLO.
    func hello(maximumStreams: UInt32 = 100, initialCredit: UInt64 = 64 << 10) -> Hello {
        Hello(
            session: SessionID(high: 1, low: 2), initialCredit: initialCredit, maximumStreams: maximumStreams,
            name: "there")
    }

    /// A further lane, greeted by both sides.
    func rejoin(_ number: UInt32? = nil) throws -> SessionLane {
        let lane = session.addLane(now: now)
        var hello = hello()
        hello.lane = number ?? (session.configuration.role == .dialler ? lane.number : 1)
        hello.replaces = hello.lane
        try hear(.hello(hello), on: lane)
        return lane
    }

    /// The id of the `n`th stream, from 0, that the session or its peer opens.
    func ownID(_ n: UInt64) -> UInt64 { 2 * n + (session.configuration.role == .dialler ? 1 : 2) }
    func peerID(_ n: UInt64) -> UInt64 { 2 * n + (session.configuration.role == .dialler ? 2 : 1) }

    /// Lets the session receive all of `frames` as one range.
    func hear(_ frames: Frame..., on lane: SessionLane? = nil) throws(ProtocolViolation) {
        try hear(bytes: frames.flatMap(\.bytes), on: lane)
    }

    func hear(bytes: [UInt8], on lane: SessionLane? = nil) throws(ProtocolViolation) {
        let range = copy(bytes)
        defer { range.deallocate() }
        try session.receive(range, on: lane ?? self.lane, now: now) { deliver($0, $1) }
    }

    /// What the session sends now.
    /// - Parameter room: bytes after which the lane takes no further frame.
    func said(on lane: SessionLane? = nil, room: Int = .max) -> [Frame] {
        sink.room = room
        session.transmit(on: lane ?? self.lane, into: sink, now: now)
        defer { sink.bytes = [] }
        do { return try Frame.decode(sink.bytes) } catch {
            Issue.record("the session sent a malformed frame: \(error)")
            return []
        }
    }

    /// What has happened, in words: `opened 1`, `reset 1 refused`.
    func events() -> [String] { takeEvents().map(\.words) }

    func takeEvents() -> [SessionEvent] {
        var events: [SessionEvent] = []
        while let event = session.nextEvent() { events.append(event) }
        return events
    }

    func pass(_ nanoseconds: UInt64) {
        now += nanoseconds
        session.advance(now: now)
    }

    /// The peer opens its `n`th stream.
    @discardableResult
    func hearOpen(
        _ n: UInt64 = 0, credit: UInt64 = 1 << 20, first: [UInt8] = [], fin: Bool = false
    ) throws -> SessionStream {
        let id = peerID(n)
        try hear(.open(Open(stream: id, credit: credit, priority: .auto, service: "s"), first: first, fin: fin))
        return try #require(session.table[id])
    }

    /// The session opens a stream and sends `first`, of which its OPEN takes all.
    func open(_ service: String = "s", first: [UInt8] = [1]) -> SessionStream {
        let stream = session.open(service: service, now: now)
        write(stream, first)
        return stream
    }

    func write(_ stream: SessionStream, _ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        session.write(stream, upTo: bytes.count, now: now) { spaces in
            var rest = bytes[...]
            for space in spaces {
                UnsafeMutableRawBufferPointer(start: space.iov_base, count: space.iov_len)
                    .copyBytes(from: rest.prefix(space.iov_len))
                rest = rest.dropFirst(space.iov_len)
            }
            return (bytes.count, ())
        }
    }

    private func deliver(_ stream: SessionStream, _ pieces: UnsafeBufferPointer<iovec>) -> Int {
        if let onDelivery {
            onDelivery(stream)
            return 0
        }
        let bytes = pieces.flatMap { Array(UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len)) }
        let count = take(bytes.count)
        taken[stream.id, default: []] += bytes[..<count]
        return count
    }
}

/// Keeps what is put in, and has room while `room` is above 0.
final class MemorySink: FrameSink {
    var bytes: [UInt8] = []
    var room = Int.max

    var hasRoom: Bool { room > 0 }

    func put(_ frame: UnsafeRawBufferPointer) {
        bytes += frame
        room -= frame.count
    }
}

extension SessionEvent {
    var words: String {
        switch self {
        case .established: "established"
        case .opened(let stream): "opened \(stream.id)"
        case .writable(let stream): "writable \(stream.id)"
        case .ended(let stream): "ended \(stream.id)"
        case .reset(let stream, let reason): "reset \(stream.id) \(reason.code)"
        case .closed(let stream): "closed \(stream.id)"
        case .goaway(let goaway): "goaway \(goaway.code)"
        case .joined(let lane): "joined \(lane.number)"
        case .replaced(let lane): "replaced \(lane.number)"
        case .refused(let lane, let goaway): "refused lane \(lane.number) \(goaway.code)"
        case .silent(let lane): "silent \(lane.number)"
        case .expired: "expired"
        }
    }
}

let bothRoles: [SessionConfiguration.Role] = [.dialler, .listener]

/// The violation that `body` ends with, or nil.
func violation(_ body: () throws -> Void) -> ProtocolViolation? {
    do {
        try body()
        return nil
    } catch {
        return error as? ProtocolViolation
    }
}
