import CulvertProtocol
import Glibc

/// What the protocol itself costs: two sessions in memory, one stream, no socket, no cipher, no clock. What a frame goes
/// through on either side is in it, and one copy in the place of the cipher.
final class FramingCost {
    private let near = End(.dialler), far = End(.listener)
    /// Nanoseconds of a clock of our own: a round takes so long.
    private var now: UInt64 = 1
    private static let round: UInt64 = 50_000

    /// Seconds of CPU time a GB.
    static func measure(bytes: Int) throws -> HostLimits.StageCost {
        let pair = FramingCost()
        for _ in 0 ..< 100 where pair.near.session.peer == nil || pair.far.session.peer == nil { try pair.exchange() }
        guard pair.near.session.peer != nil else { throw BenchError("two sessions in memory do not greet each other") }
        return try pair.carry(bytes)
    }

    private func exchange() throws {
        now += Self.round
        try far.take(near.give(now), now)
        try near.take(far.give(now), now)
    }

    private func carry(_ bytes: Int) throws -> HostLimits.StageCost {
        let stream = near.session.open(service: "bench", now: now)
        var sending = 0.0, receiving = 0.0
        var written = 0, idle = 0
        while far.received < bytes {
            let before = far.received
            now += Self.round
            let start = Clock.threadCPU
            let space = min(near.session.space(stream), bytes - written)
            if space > 0 {
                // As a read from a socket would: the kernel writes the bytes, the buffer only learns how many.
                written += near.session.write(stream, upTo: space, now: now) { pieces in
                    (count: space, result: space)
                }
            }
            let frames = near.give(now)
            let middle = Clock.threadCPU
            try far.take(frames, now)
            let answers = far.give(now)
            let end = Clock.threadCPU
            try near.take(answers, now)
            sending += middle - start + Clock.threadCPU - end
            receiving += end - middle
            idle = far.received > before ? 0 : idle + 1
            guard idle < 10_000 else { throw BenchError("two sessions in memory stopped after \(far.received) bytes") }
        }
        let gigabytes = Double(bytes) / 1e9
        return HostLimits.StageCost(send: sending / gigabytes, receive: receiving / gigabytes)
    }

    /// One session with one lane, and where its frames go.
    private final class End {
        let session: Session
        private let lane: SessionLane
        private let sink = Sink()
        private(set) var received = 0

        init(_ role: SessionConfiguration.Role) {
            session = Session(
                configuration: SessionConfiguration(role: role, name: "\(role)"), pool: ChunkPool(),
                budget: MemoryBudget(limit: 1 << 30), now: 1)
            lane = session.addLane(now: 1)
        }

        /// Frames for the other end, valid until the next call.
        func give(_ now: UInt64) -> UnsafeRawBufferPointer {
            if session.deadline <= now { session.advance(now: now) }
            sink.count = 0
            session.transmit(on: lane, into: sink, now: now)
            return sink.bytes
        }

        func take(_ frames: UnsafeRawBufferPointer, _ now: UInt64) throws {
            try session.receive(frames, on: lane, now: now) { _, pieces in
                let count = pieces.reduce(0) { $0 + $1.iov_len }
                received += count
                return count
            }
            while session.nextEvent() != nil {}
        }
    }

    private final class Sink: FrameSink {
        private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchSize.block + (64 << 10), alignment: 4096)
        var count = 0

        deinit { buffer.deallocate() }

        var hasRoom: Bool { count < BenchSize.block }
        var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<count]) }

        func put(_ frame: UnsafeRawBufferPointer) {
            guard let start = frame.baseAddress else { return }
            memcpy(buffer.baseAddress! + count, start, frame.count)
            count += frame.count
        }
    }
}
