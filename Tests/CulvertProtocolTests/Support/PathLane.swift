import Glibc

@testable import CulvertProtocol

/// A lane of a `Path`: a TCP connection with a bottleneck of its own. What is put in leaves at its rate and arrives after
/// the delay, in order. A segment that is lost arrives a round trip later and all that follows waits for it; the sender
/// goes on at seven tenths of the rate (CUBIC's factor, RFC 9438 section 4.6) and is back at all of it ten round trips later.
final class PathLane {
    /// What the socket takes at once, and what may lie unsent in the kernel when it takes more: as `Lane` has it.
    private static let batch = 256 << 10

    /// One direction.
    private struct Line {
        /// When all that was put in has left.
        var free: UInt64 = 0
        /// When the last of it arrives.
        var due: UInt64 = 0
        var bursts = Fifo<Burst>()
    }

    fileprivate struct Burst {
        var due: UInt64 = 0
        /// Headers and frames without payload, each followed by so many bytes of payload.
        var pieces: [(head: ArraySlice<UInt8>, payload: Int)] = []
    }

    /// The two sessions' views of it.
    let halves: [SessionLane]
    var isCut = false
    private let plan: Path.Plan
    private let full: Double
    private var lines = [Line(), Line()]
    private var reducedAt: UInt64?
    private let sink = HeaderSink()

    init(_ plan: Path.Plan, _ rate: Double, _ halves: [SessionLane]) {
        self.plan = plan
        full = rate
        self.halves = halves
    }

    /// Bits a second.
    func rate(_ now: UInt64) -> Double {
        guard let reducedAt else { return full }
        return full * min(1, 0.7 + 0.3 * Double(now - reducedAt) / Double(10 * plan.roundTrip))
    }

    private func time(_ bytes: Int, _ now: UInt64) -> UInt64 { UInt64(Double(bytes) * 8e9 / rate(now)) }

    func hasRoom(_ side: Int, _ now: UInt64) -> Bool { lines[side].free <= now + time(Self.batch, now) }

    func transmit(from side: Int, _ session: Session, _ now: UInt64, _ random: inout Seeded) {
        sink.room = Self.batch
        session.transmit(on: halves[side], into: sink, now: now)
        let bytes = Self.batch - sink.room
        lines[side].free = max(lines[side].free, now) + time(bytes, now)
        var due = lines[side].free + plan.roundTrip / 2
        if let mean = plan.bytesBetweenLosses, Double.random(in: 0..<1, using: &random) < Double(bytes) / mean {
            due += plan.roundTrip
            reducedAt = now
        }
        lines[side].due = max(lines[side].due, due)
        sink.burst.due = lines[side].due
        lines[side].bursts.append(sink.burst)
        sink.burst = Burst()
    }

    /// When something happens on it of its own accord.
    func nextChange(after now: UInt64) -> UInt64 {
        var next = UInt64.max
        for line in lines {
            if let first = line.bursts.first { next = min(next, first.due) }
            let room = line.free - min(line.free, time(Self.batch, now))
            if room > now { next = min(next, room) }
        }
        return next
    }

    func arrive(at side: Int, _ session: Session, _ now: UInt64, _ deliver: Session.Delivery) {
        while !isCut, let burst = lines[1 - side].bursts.first, burst.due <= now {
            _ = lines[1 - side].bursts.popFirst()
            for piece in burst.pieces {
                piece.head.withUnsafeBytes { hear($0, side, session, now, deliver) }
                if piece.payload > 0 { hear(Self.payload(piece.payload), side, session, now, deliver) }
            }
        }
    }

    private func hear(
        _ bytes: UnsafeRawBufferPointer, _ side: Int, _ session: Session, _ now: UInt64, _ deliver: Session.Delivery
    ) {
        do { try session.receive(bytes, on: halves[side], now: now, deliver: deliver) } catch {
            preconditionFailure("\(plan): \(error)")
        }
    }

    private nonisolated(unsafe) static let zeros = UnsafeRawBufferPointer(
        UnsafeMutableRawBufferPointer.allocate(byteCount: Chunk.size, alignment: 16).initialized())

    private static func payload(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: zeros[..<count]) }
}

/// Keeps of each frame what is not payload.
private final class HeaderSink: FrameSink {
    var burst = PathLane.Burst()
    var room = 0

    var hasRoom: Bool { room > 0 }

    func put(_ frame: UnsafeRawBufferPointer) {
        room -= frame.count
        let head = frame[0] == FrameKind.data.rawValue ? WireLimit.dataHeader : frame.count
        burst.pieces.append((ArraySlice(frame[..<head]), frame.count - head))
    }
}

extension UnsafeMutableRawBufferPointer {
    fileprivate func initialized() -> UnsafeMutableRawBufferPointer {
        initializeMemory(as: UInt8.self, repeating: 0)
        return self
    }
}
