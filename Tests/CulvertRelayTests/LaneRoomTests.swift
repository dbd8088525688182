import CulvertIO
import Testing

@testable import CulvertRelay
@testable import CulvertTLS

/// A lane that has room for a frame takes it, wherever its keys are renewed.
@Suite struct LaneRoomTests {
    /// Small frames that were gathered go out ahead of a large one, as records of their own, which may bring the new key.
    @Test func aKeyUpdateAheadOfGatheredFramesLeavesRoomForTheNext() async throws {
        let directory = try TestDirectory(), pki = try TestPKI(directory)
        let context = try pki.context("a"), other = try pki.context("b")
        let loop = try EventLoop(name: "lane")
        loop.start()
        defer { loop.stop() }
        // Around the last byte that a lane takes before it sends.
        let spares = -40..<8
        let taken = try await withCheckedThrowingContinuation { (done: CheckedContinuation<[Int], any Error>) in
            loop.execute {
                done.resume(with: Result { try spares.map { try Self.fill(with: $0, context, other, loop) } })
            }
        }
        #expect(taken.contains(0) && taken.contains(64 << 10), "\(taken)")
    }

    /// Puts in what is `spare` bytes more than a batch of ciphertext less one, and small frames, then a large one.
    /// - Returns: how much of that there was room for.
    private static func fill(with spare: Int, _ context: TLSContext, _ other: TLSContext, _ loop: EventLoop) throws -> Int {
        let owner = IdleOwner(), socket = try Descriptor.pair()
        let connection = SecuredConnection(
            descriptor: socket.first, engine: try shakenHands(context.makeEngine(.client, with: "b"), other.makeEngine(.server)),
            leftover: [])
        let lane = try DirectLane(connection, loop: loop, keepalive: .seconds(5), owner: owner)
        defer { lane.close() }
        // 16 records, the last of them shorter than the others.
        (connection.engine as! Engine).records!.writer.recordsPerKey = 16
        let rest = LaneBatch.capacity - 1 - 3 * (DirectLane.largestFrame + 4 * RecordLimits.overhead) - 4 * RecordLimits.overhead
        for count in [DirectLane.largestFrame, DirectLane.largestFrame, DirectLane.largestFrame, rest + spare] { lane.put(count) }
        // As many as are gathered.
        for count in [4095, 4095, 4095, 4095, 4] where lane.hasRoom { lane.put(count) }
        guard lane.hasRoom else { return 0 }
        lane.put(DirectLane.largestFrame)
        return DirectLane.largestFrame
    }

    private static func shakenHands(_ client: any TLSEngine, _ server: any TLSEngine) throws -> any TLSEngine {
        var input: [UInt8] = [], engine = client, next = server
        while true {
            let (consumed, done) = try input.withUnsafeBytes { try engine.handshake($0) }
            precondition(consumed == input.count, "a handshake in pieces")
            if done, engine === server { return client }
            input = [UInt8](unsafeUninitializedCapacity: engine.pendingOutput) { buffer, count in
                count = engine.drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
            }
            swap(&engine, &next)
        }
    }
}

private final class IdleOwner: LaneOwner {
    func attend() {}
}

extension DirectLane {
    fileprivate func put(_ count: Int) { [UInt8](repeating: 0, count: count).withUnsafeBytes { put($0) } }
}
