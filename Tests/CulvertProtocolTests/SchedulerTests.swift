import Testing

@testable import CulvertProtocol

/// Which stream sends next. All is measured in bytes that the lane carries, never in time.
@Suite struct SchedulerTests {
    /// Streams that always have more to say, over a lane that takes a little at a time.
    private final class Lane {
        let peer: ScriptedPeer
        private(set) var sent: [UInt64: Int] = [:]
        /// Stream and payload of each frame, in order.
        private(set) var order: [(stream: UInt64, bytes: Int)] = []
        private var bulk: [SessionStream] = []

        init(budget: Int = 1 << 30) throws {
            peer = try ScriptedPeer(peerMaximumStreams: 1000, initialCredit: 1 << 40, budget: budget)
        }

        func addBulk(_ priority: Priority = .auto) -> SessionStream {
            let stream = peer.session.open(service: "bulk", priority: priority, now: peer.now)
            peer.write(stream, [1])
            bulk.append(stream)
            return stream
        }

        /// Sends at least `bytes`, `step` at a time, and keeps bulk streams full.
        func carry(_ bytes: Int, step: Int = 64 << 10, each: () throws -> Void = {}) throws {
            var carried = 0
            while carried < bytes {
                for stream in bulk {
                    let space = peer.session.space(stream)
                    if space > 0 { peer.session.write(stream, upTo: space, now: peer.now) { _ in (space, ()) } }
                }
                try each()
                let before = order.count
                try note(peer.said(room: step))
                let now = order[before...].reduce(0) { $0 + $1.bytes }
                try #require(now > 0, "the lane stands still")
                carried += now
            }
        }

        func clear() {
            order = []
            sent = [:]
        }

        /// Keeps account of what was sent, and acknowledges it.
        private func note(_ frames: [Frame]) throws {
            for frame in frames {
                switch frame {
                case .open(let open, let first, _): try add(open.stream, 0, first.count)
                case .data(let stream, let offset, let payload, _): try add(stream, offset, payload.count)
                default: break
                }
            }
        }

        private func add(_ stream: UInt64, _ offset: UInt64, _ count: Int) throws {
            sent[stream, default: 0] += count
            order.append((stream, count))
            try peer.hear(.ack(Ack(stream: stream, received: offset + UInt64(count), credit: 1 << 40)))
        }
    }

    @Test func aRequestOvertakesBulkThatWaitedForCredit() throws {
        let peer = try ScriptedPeer(peerMaximumStreams: 1000, initialCredit: 64 << 10)
        let bulk = (0..<10).map { _ in peer.open("bulk", first: [UInt8](repeating: 1, count: 200_000)) }
        let sparse = peer.open("sparse")
        _ = peer.said()
        for stream in bulk { try peer.hear(.ack(Ack(stream: stream.id, received: 0, credit: 1 << 20))) }
        peer.write(sparse, [9])
        let order = peer.said().compactMap { frame in
            if case .data(let stream, _, _, _) = frame { stream } else { nil }
        }
        #expect(order.first == sparse.id)
        #expect(Set(order).count == 11)
    }

    @Test(arguments: [1, 4, 40])
    func aStreamThatSaysLittleOvertakesBulk(count: Int) throws {
        let lane = try Lane()
        for _ in 0..<count { _ = lane.addBulk() }
        // Past their first turn, in which they are new themselves.
        try lane.carry((count + 1) * 2 * Chunk.size)
        let sparse = lane.peer.open("sparse", first: [])
        lane.peer.pass(lane.peer.session.configuration.openWait)
        for _ in 0..<20 {
            lane.clear()
            lane.peer.write(sparse, [UInt8](repeating: 9, count: 200))
            try lane.carry(count * 100_000)
            #expect(lane.order.first?.stream == sparse.id)
        }
    }

    @Test func aStreamThatSaysLittleWaitsForOneTurnOfNewOnesAtMost() throws {
        let lane = try Lane()
        for _ in 0..<10 { _ = lane.addBulk() }
        let sparse = lane.peer.open("sparse", first: [1])
        try lane.carry(30 * Chunk.size)
        let position = try #require(lane.order.firstIndex { $0.stream == sparse.id })
        #expect(lane.order[..<position].reduce(0) { $0 + $1.bytes } <= 10 * 2 * Chunk.size)
    }

    @Test func bulkStreamsShareTheLaneEvenly() throws {
        let lane = try Lane()
        let streams = (0..<50).map { _ in lane.addBulk() }
        try lane.carry(50 * 4 * Chunk.size)
        lane.clear()
        try lane.carry(50 * 10 * Chunk.size)
        let shares = streams.map { lane.sent[$0.id] ?? 0 }
        #expect(shares.max()! - shares.min()! <= 2 * Chunk.size)
    }

    @Test func controlStreamsGetMoreAndBulkIsNotStarved() throws {
        let lane = try Lane()
        let bulk = lane.addBulk(), control = lane.addBulk(.control)
        try lane.carry(40 * Chunk.size)
        lane.clear()
        try lane.carry(200 * Chunk.size)
        let (little, much) = (try #require(lane.sent[bulk.id]), try #require(lane.sent[control.id]))
        #expect(much > 3 * little && much < 5 * little)
    }

    /// A stream that always says a little more just before the lane takes frames.
    @Test func speakingInSmallPiecesIsNoWayToTheFront() throws {
        let lane = try Lane()
        let bulk = lane.addBulk()
        try lane.carry(10 * Chunk.size)
        let talker = lane.peer.open("talker", first: [1])
        lane.clear()
        try lane.carry(100 * Chunk.size, step: 1) {
            let space = lane.peer.session.space(talker)
            if space > 0 { lane.peer.write(talker, [UInt8](repeating: 1, count: min(20_000, space))) }
        }
        #expect(lane.sent[bulk.id]! >= lane.sent[talker.id]! - 2 * Chunk.size)
        #expect(lane.sent[talker.id]! > 0)
    }

    @Test func acksGoBeforeData() throws {
        let lane = try Lane()
        _ = lane.addBulk()
        try lane.carry(4 * Chunk.size)
        try lane.peer.hearOpen()
        try lane.peer.hear(.ping(5))
        lane.peer.write(lane.peer.session.streams.first { $0.outgoing }!, [UInt8](repeating: 1, count: 1000))
        let said = lane.peer.said(room: 60)
        #expect(said.first == .pong(5))
        guard case .ack(let ack)? = said.dropFirst().first else {
            Issue.record("no ACK behind the PONG")
            return
        }
        #expect(ack.stream == 2)
    }

    @Test func streamsWithoutCreditTakeNoTurns() throws {
        let peer = try ScriptedPeer(initialCredit: 10)
        let blocked = (0..<10).map { _ in peer.open(first: [UInt8](repeating: 1, count: 100)) }
        let frames = peer.said()
        #expect(frames.count == 10)
        #expect(!peer.session.wantsToTransmit || peer.said().isEmpty)
        try peer.hear(.ack(Ack(stream: blocked[7].id, received: 10, credit: 20)))
        #expect(peer.said() == [.data(blocked[7].id, at: 10, [UInt8](repeating: 1, count: 10))])
    }

    @Test func noFrameIsLargerThanAChunk() throws {
        let lane = try Lane()
        _ = lane.addBulk()
        try lane.carry(20 * Chunk.size)
        #expect(lane.order.allSatisfy { $0.bytes <= Chunk.capacity })
        #expect(lane.order.dropFirst().prefix(8).contains { $0.bytes == Chunk.capacity })
    }
}
