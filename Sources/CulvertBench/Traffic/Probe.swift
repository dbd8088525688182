import BenchSockets
import Foundation

/// Single questions to the far end.
struct Probe {
    let route: any Route

    /// Sends a stream and compares what arrived.
    func verify(_ pattern: Pattern) throws {
        let connection = try route.connect(.digest)
        var digest = Digest()
        var sent = 0
        while sent < BenchSize.verified {
            let piece = pattern.piece(at: sent, atMost: min(BenchSize.block, BenchSize.verified - sent))
            try connection.socket.send(piece)
            digest.add(piece)
            sent += piece.count
        }
        try connection.socket.finishSending()
        guard try connection.answer() == BenchAnswer(count: UInt64(sent), detail: digest.value) else {
            throw BenchError("the bytes that arrived are not those that were sent; measuring makes no sense")
        }
    }

    /// Sends `BenchSize.echo` bytes and waits for them, over and over.
    /// - Parameter limit: the time after which fewer than `count` will do.
    func roundTrips(_ count: Int, within limit: Duration) throws -> RoundTrips {
        let connection = try route.connect(.echo)
        let question = [UInt8](repeating: 0x5a, count: BenchSize.echo)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchSize.echo, alignment: 8)
        defer { buffer.deallocate() }
        var times: [Double] = []
        // The first one opens the stream and its far connection.
        let warmUp = 1
        let deadline = Clock.now + limit / .seconds(1)
        while times.count < count + warmUp, times.count <= warmUp || Clock.now < deadline {
            let asked = Clock.now
            try question.withUnsafeBytes { try connection.socket.send($0) }
            guard try connection.socket.receiveWhole(buffer) else { throw BenchError("the stream of requests broke off") }
            times.append(Clock.now - asked)
        }
        return RoundTrips(Array(times.dropFirst(warmUp)))
    }

    /// The same while `bulk` fills the session.
    func roundTrips(_ count: Int, within limit: Duration, during bulk: Bulk) throws -> RoundTrips {
        let gauge = Bulk.Gauge()
        let traffic = Worker { try bulk.run(gauge) }
        defer {
            gauge.end()
            _ = try? traffic.value()
        }
        // Until windows and buffers are full, or it has failed.
        let deadline = Clock.now + 5
        while gauge.sent < 32 << 20, !gauge.hasEnded, Clock.now < deadline { Thread.sleep(forTimeInterval: 0.005) }
        let measured = try roundTrips(count, within: limit)
        gauge.end()
        _ = try traffic.value()
        return measured
    }

    /// Seconds of CPU time of the two relays so far; nil where they are not known.
    func relayTime() throws -> (near: Double?, far: Double?) {
        let connection = try route.connect(.processorTime)
        let near = connection.socket.peerProcess.flatMap(Clock.cpu(of:))
        let far = try connection.answer().count
        return (near, far == 0 ? nil : Double(far) / 1e9)
    }
}
