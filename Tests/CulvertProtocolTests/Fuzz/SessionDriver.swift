import Glibc

@testable import CulvertProtocol

/// Two sessions, and bytes that say what happens to them. Every byte that is read is the next one that was written; every
/// stream comes to its end at both sides, or is reset with a reason; no correct side finds a violation.
final class SessionDriver {
    /// What a correct pair does not do.
    struct Fault: Error { var description: String }

    private final class Leg {
        let stream: SessionStream
        let key: Int
        var written = 0
        var read = 0
        var finished = false
        var closed = false
        var reset: ResetReason?
        var toldReset: ResetReason?

        init(_ stream: SessionStream, key: Int) {
            self.stream = stream
            self.key = key
        }

        var isOver: Bool { closed || reset != nil || toldReset != nil }
    }

    private struct Wire {
        let halves: [SessionLane]
        /// By receiving side.
        var inbound: [[UInt8]] = [[], []]
        var isCut = false
    }

    private static let most = (streams: 12, lanes: 4, time: 50_000_000_000 as UInt64)

    private let pools = [ChunkPool(), ChunkPool()]
    private let sessions: [Session]
    private var wires: [Wire] = []
    private var legs: [[Int: Leg]] = [[:], [:]]
    private var opened = 0
    private var now: UInt64 = 1_000_000_000
    private var takesAll = [true, true]
    private var isCorrupted = false
    private var fault: Fault?
    private var input: ArraySlice<UInt8>

    private init(_ input: [UInt8]) {
        self.input = input[...]
        sessions = zip(pools, [SessionConfiguration.Role.dialler, .listener]).map { pool, role in
            Session(
                configuration: SessionConfiguration(role: role, name: "\(role)", streamWindow: 300_000, maximumStreams: 8),
                id: SessionID(high: 1, low: 2), pool: pool, budget: MemoryBudget(limit: 1 << 20), now: 1_000_000_000)
        }
    }

    /// - Returns: what is wrong, nil if nothing is.
    static func run(_ input: [UInt8]) -> String? {
        let driver = SessionDriver(input)
        do {
            try driver.drive()
            return nil
        } catch let fault as Fault {
            return fault.description
        } catch {
            // A session may end only because of bytes that the other did not send.
            return driver.isCorrupted ? nil : "\(error)"
        }
    }

    private func drive() throws {
        connect()
        for _ in 0..<4 { try pump() }
        while let operation = input.popFirst() { try act(operation) }
        try finish()
    }

    private func next(_ bound: Int) -> Int { Int(input.popFirst() ?? 0) % bound }

    private func act(_ operation: UInt8) throws {
        let side = Int(operation >> 7)
        switch operation & 0x7F % 16 {
        case 0: open(side)
        case 1, 2: if let leg = anyLeg(side) { write(leg, side, 1 << next(18)) }
        case 3: if let leg = anyLeg(side) { try read(leg, side, 1 << next(18)) }
        case 4: if let leg = anyLeg(side) { finish(leg, side) }
        case 5: if let leg = anyLeg(side) { reset(leg, side, afterData: next(2) == 1) }
        case 6: if !wires.isEmpty { cut(next(wires.count), noticedBy: next(3)) }
        case 7: if wires.count < Self.most.lanes { connect() }
        case 8, 9: if !wires.isEmpty { try transmit(next(wires.count), from: side) }
        case 10, 11: if !wires.isEmpty { try deliver(next(wires.count), to: side, 1 << next(20)) }
        case 12: try pass(UInt64(next(256)) * 1_000_000)
        case 13: corrupt(side)
        case 14: takesAll[side].toggle()
        default: try pump()
        }
        try check()
    }

    // MARK: Owners

    private func anyLeg(_ side: Int) -> Leg? {
        let keys = legs[side].keys.sorted()
        return keys.isEmpty ? nil : legs[side][keys[next(keys.count)]]
    }

    private func open(_ side: Int) {
        guard opened < Self.most.streams, sessions[side].canOpen else { return }
        let stream = sessions[side].open(service: String(opened), now: now)
        legs[side][opened] = Leg(stream, key: 2 * opened + side)
        opened += 1
    }

    private static func byte(_ key: Int, _ offset: Int) -> UInt8 { UInt8(truncatingIfNeeded: key &* 151 &+ offset &* 31 &+ offset >> 8) }

    private func write(_ leg: Leg, _ side: Int, _ count: Int) {
        guard !leg.isOver, !leg.finished else { return }
        let count = min(count, sessions[side].space(leg.stream))
        guard count > 0 else { return }
        sessions[side].write(leg.stream, upTo: count, now: now) { spaces in
            for space in spaces {
                let bytes = UnsafeMutableRawBufferPointer(start: space.iov_base, count: space.iov_len)
                for index in bytes.indices { bytes[index] = Self.byte(leg.key, leg.written + index) }
                leg.written += bytes.count
            }
            return (count, ())
        }
    }

    private func take(_ leg: Leg, _ pieces: UnsafeBufferPointer<iovec>, _ limit: Int) -> Int {
        var taken = 0
        for piece in pieces {
            for byte in UnsafeRawBufferPointer(start: piece.iov_base, count: min(piece.iov_len, limit - taken)) {
                // The other side's direction.
                if byte != Self.byte(leg.key ^ 1, leg.read), !isCorrupted { fault = Fault(description: "wrong byte at \(leg.read)") }
                leg.read += 1
                taken += 1
            }
        }
        return taken
    }

    private func read(_ leg: Leg, _ side: Int, _ limit: Int) throws {
        guard leg.reset == nil, leg.stream.undelivered > 0 else { return }
        let count = sessions[side].read(leg.stream, pieces: 8) { take(leg, $0, limit) }
        sessions[side].consume(leg.stream, count, now: now)
    }

    private func finish(_ leg: Leg, _ side: Int) {
        guard !leg.isOver else { return }
        leg.finished = true
        sessions[side].finish(leg.stream, now: now)
    }

    private func reset(_ leg: Leg, _ side: Int, afterData: Bool) {
        guard !leg.isOver else { return }
        leg.reset = ResetReason(.localClosed, errno: 104, "side \(side)")
        sessions[side].reset(leg.stream, leg.reset!, afterData: afterData, now: now)
    }

    private func handleEvents(_ side: Int) throws {
        while let event = sessions[side].nextEvent() {
            switch event {
            case .opened(let stream):
                guard let number = Int(stream.service), number < opened, legs[side][number] == nil else {
                    if isCorrupted { continue }
                    throw Fault(description: "opened \(stream.service) twice")
                }
                // Its key is that of the opener with the side exchanged.
                legs[side][number] = Leg(stream, key: 2 * number + side)
            case .closed(let stream): leg(of: stream, side)?.closed = true
            case .reset(let stream, let reason): leg(of: stream, side)?.toldReset = reason
            case .established, .writable, .ended, .goaway, .joined, .replaced, .refused, .silent, .expired: break
            }
        }
    }

    private func leg(of stream: SessionStream, _ side: Int) -> Leg? { legs[side].values.first { $0.stream === stream } }

    // MARK: Lanes

    private func connect() {
        let halves = sessions.map { $0.addLane(now: now) }
        wires.append(Wire(halves: halves))
    }

    /// - Parameter sides: 0 or 1: only that side, for now; 2: both.
    private func cut(_ index: Int, noticedBy sides: Int) {
        wires[index].isCut = true
        for side in 0...1 where sides == side || sides == 2 { sessions[side].lose(wires[index].halves[side], now: now) }
        if sides == 2 { wires.remove(at: index) }
    }

    /// A lane that was lost is not used any more.
    private func knows(_ wire: Wire, _ side: Int) -> Bool { sessions[side].lanes.contains { $0 === wire.halves[side] } }

    private func transmit(_ index: Int, from side: Int) throws {
        guard knows(wires[index], side) else { return }
        let sink = ByteSink()
        sessions[side].transmit(on: wires[index].halves[side], into: sink, now: now)
        if !wires[index].isCut { wires[index].inbound[1 - side] += sink.bytes }
    }

    private func deliver(_ index: Int, to side: Int, _ count: Int) throws {
        guard !wires[index].isCut, knows(wires[index], side) else { return }
        let bytes = Array(wires[index].inbound[side].prefix(count))
        guard !bytes.isEmpty else { return }
        wires[index].inbound[side].removeFirst(bytes.count)
        let memory = copy(bytes)
        defer { memory.deallocate() }
        try sessions[side].receive(memory, on: wires[index].halves[side], now: now) { stream, pieces in
            if leg(of: stream, side) == nil { try? handleEvents(side) }
            guard takesAll[side], let leg = leg(of: stream, side) else { return 0 }
            return take(leg, pieces, .max)
        }
    }

    private func corrupt(_ side: Int) {
        guard let index = wires.indices.first(where: { !wires[$0].inbound[side].isEmpty }) else { return }
        isCorrupted = true
        let position = next(256) % wires[index].inbound[side].count
        wires[index].inbound[side][position] ^= UInt8(1 << next(8))
    }

    private func pass(_ nanoseconds: UInt64) throws {
        guard now < Self.most.time else { return }
        now += nanoseconds
        for session in sessions { session.advance(now: now) }
    }

    /// Everything that can go now goes.
    private func pump() throws {
        for side in 0...1 {
            for index in wires.indices { try transmit(index, from: side) }
            for index in wires.indices { try deliver(index, to: 1 - side, .max) }
            for side in 0...1 { try handleEvents(side) }
        }
    }

    private func check() throws {
        for side in 0...1 { try handleEvents(side) }
        if let fault { throw fault }
    }

    // MARK: The end

    /// The network recovers, everyone reads and finishes: every stream must come to an end.
    private func finish() throws {
        for index in wires.indices.reversed() where wires[index].isCut { cut(index, noticedBy: 2) }
        if wires.isEmpty { connect() }
        takesAll = [true, true]
        for _ in 0..<400 {
            try pump()
            for side in 0...1 {
                for leg in legs[side].values {
                    try read(leg, side, .max)
                    finish(leg, side)
                }
            }
            now += 20_000_000
            for session in sessions { session.advance(now: now) }
            try check()
            if isOver { break }
        }
        guard !isCorrupted else { return }
        for (side, number, leg) in (0...1).flatMap({ side in legs[side].map { (side, $0.key, $0.value) } }) {
            try judge(leg, number, side, legs[1 - side][number])
        }
        legs = [[:], [:]]
        guard sessions.allSatisfy({ $0.table.isEmpty && $0.streamCount == 0 }), pools.allSatisfy({ $0.inUse == 0 }) else {
            throw Fault(description: "something is left")
        }
    }

    private var isOver: Bool {
        sessions.allSatisfy { $0.streams.isEmpty && $0.opens.isEmpty && !$0.wantsToTransmit }
            && legs.allSatisfy { $0.values.allSatisfy { $0.isOver && ($0.reset != nil || $0.stream.undelivered == 0) } }
    }

    private func judge(_ leg: Leg, _ number: Int, _ side: Int, _ other: Leg?) throws {
        func fail(_ text: String) -> Fault { Fault(description: "stream \(number) at side \(side): \(text)") }
        guard leg.isOver else {
            let stream = leg.stream
            throw fail("no end: id \(stream.id), \(stream.state), \(stream.send.end), \(stream.unacknowledged) unacknowledged")
        }
        if leg.closed {
            // A reset may come when the other side has had everything and knows that its own has arrived.
            guard let other, other.closed || other.finished && other.reset != nil else { throw fail("closed at one side only") }
            guard leg.read == other.written else { throw fail("read \(leg.read) of \(other.written)") }
        } else if let told = leg.toldReset {
            guard told == other?.reset || told.code == .refused else { throw fail("told \(told)") }
        } else if let other {
            let isKnown = other.toldReset == leg.reset || other.reset != nil || leg.finished && other.closed
            guard isKnown else { throw fail("its reset was not told") }
        }
    }
}

private final class ByteSink: FrameSink {
    var bytes: [UInt8] = []
    /// As a lane: about 256 KiB at a time.
    var hasRoom: Bool { bytes.count < 256 << 10 }

    func put(_ frame: UnsafeRawBufferPointer) { bytes += frame }
}
