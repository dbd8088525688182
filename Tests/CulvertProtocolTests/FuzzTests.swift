import Testing

@testable import CulvertProtocol

/// Whatever arrives, a session takes it or names a violation. It never traps, and keeps no more than it may.
@Suite struct FuzzTests {
    @Test func randomBytesAreFramesOrViolations() {
        var random = Seeded(1)
        var violations = 0
        for _ in 0..<100_000 {
            var bytes = random.bytes(random.below(60))
            // Mostly a known type with a short length, else all of them would end at the first byte.
            if bytes.count >= 16, random.chance(80) {
                bytes.replaceSubrange(0..<7, with: [UInt8(1 + random.below(8)), UInt8(random.below(2)), 0, 0, 0, 0, 0])
                if random.chance(70) { bytes.replaceSubrange(8..<15, with: repeatElement(0, count: 7)) }
            }
            if violation({ _ = try Frame.decode(bytes) }) != nil { violations += 1 }
        }
        #expect(violations > 10_000 && violations < 100_000)
    }

    @Test func damagedFramesAreFramesOrViolations() throws {
        let vectors: [Vectors.Valid] = try Vectors.load("frames")
        var random = Seeded(2)
        var violations = 0
        for _ in 0..<20_000 {
            var bytes = vectors[random.below(vectors.count)].hex.bytes
            for _ in 0...random.below(3) { bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next()) }
            if random.chance(20) { bytes.removeLast(random.below(bytes.count)) }
            let peer = try ScriptedPeer()
            if violation({ try peer.hear(bytes: bytes) }) != nil { violations += 1 }
        }
        #expect(violations > 1000)
    }

    /// Frames that are well formed and make little sense, while the owner acts at random too.
    @Test(arguments: Seeds.list(100))
    func sessionsSurviveHostilePeers(seed: UInt64) throws {
        var random = Seeded(seed)
        for _ in 0..<10 {
            let role = bothRoles[random.below(2)]
            let peer = try ScriptedPeer(
                role, established: random.chance(95), streamWindow: [1, 100_000, 8 << 20][random.below(3)],
                maximumStreams: random.below(5), peerMaximumStreams: random.chance(50) ? 3 : .max,
                initialCredit: Self.number(&random), budget: [0, 300_000, 1 << 30][random.below(3)])
            var owner = RandomOwner(peer)
            for _ in 0..<150 {
                var bytes = Self.frame(&random, peer).bytes
                // Repeats of all but OPEN and HELLO are allowed.
                if bytes[0] > FrameKind.open.rawValue, random.chance(20) { bytes += bytes }
                guard violation({ try peer.hear(bytes: bytes) }) == nil else { break }
                owner.act(&random)
                let budget = peer.budget
                #expect(budget.used >= 0, "seed \(seed)")
                #expect(budget.used <= budget.limit, "seed \(seed)")
            }
            owner.checkCounts("seed \(seed)")
        }
    }

    /// Numbers at which arithmetic goes wrong.
    private static func number(_ random: inout Seeded) -> UInt64 {
        let edges: [UInt64] = [
            0, 1, 1 << 16, 1 << 19, 1 << 31, 1 << 32, 1 << 62, 1 << 63, .max - (1 << 20), .max,
        ]
        let edge = edges[random.below(edges.count)]
        return random.chance(70) ? edge : edge &+ UInt64(random.below(5)) &- 2
    }

    private static func frame(_ random: inout Seeded, _ peer: ScriptedPeer) -> Frame {
        let session = peer.session
        guard session.peer != nil || random.chance(10) else {
            return .hello(peer.hello(maximumStreams: .max, initialCredit: number(&random)))
        }
        guard let id = knownID(&random, peer), !random.chance(20) else { return open(&random, peer) }
        let stream = session.table[id]
        switch random.below(20) {
        case 0...7:
            let received = stream?.receive.received ?? 0
            let back = UInt64(random.below(Int(min(received, 3)) + 1))
            let offset = random.chance(99) ? received - back : number(&random)
            let room = stream.map { max(1, min($0.receiveWindow, 60_000)) } ?? 60_000
            let count = random.chance(50) ? random.below(min(20, room)) : random.below(room)
            let hasEnded = stream?.receiveEnded ?? false
            let mayEnd = !hasEnded && offset &+ UInt64(count) >= received
            let payload = [UInt8](repeating: 1, count: hasEnded ? 0 : count)
            return .data(id, at: offset, payload, fin: stream == nil || mayEnd && random.chance(10))
        case 8...14: return .ack(ack(id, stream, &random))
        case 15:
            let final = random.chance(95) ? stream?.receive.received ?? number(&random) : number(&random)
            let reason = ResetReason(ResetCode(rawValue: UInt32(random.below(20))), errno: 104, "fuzz")
            return .reset(Reset(stream: id, finalOffset: final, reason: reason))
        case 16: return .pong(random.chance(50) ? peer.lane.pingSent ?? 0 : number(&random))
        case 17 where random.chance(10): return .goaway(Goaway(code: .draining, lastStream: number(&random), text: ""))
        case 18 where random.chance(1): return .hello(peer.hello())
        default: return .ping(number(&random))
        }
    }

    /// The id of a stream that was opened at some time, seldom of none.
    private static func knownID(_ random: inout Seeded, _ peer: ScriptedPeer) -> UInt64? {
        if random.chance(1) { return max(1, number(&random)) }
        let own = peer.session.nextID - peer.ownID(0), others = peer.session.highestPeerID + 2 - peer.peerID(0)
        let count = Int(own / 2 + others / 2)
        guard count > 0 else { return nil }
        let live = Array(peer.session.table.keys).sorted()
        if !live.isEmpty, random.chance(80) { return live[random.below(live.count)] }
        let n = UInt64(random.below(count))
        return n < own / 2 ? peer.ownID(n) : peer.peerID(n - own / 2)
    }

    private static func open(_ random: inout Seeded, _ peer: ScriptedPeer) -> Frame {
        let last = peer.session.highestPeerID
        let open = Open(
            stream: random.chance(99) ? last == 0 ? peer.peerID(0) : last + 2 : max(1, number(&random)),
            credit: number(&random), priority: random.chance(50) ? .auto : .control, service: "s\(random.below(2))")
        return .open(open, first: random.bytes(random.below(30)), fin: random.chance(20))
    }

    private static func ack(_ id: UInt64, _ stream: SessionStream?, _ random: inout Seeded) -> Ack {
        guard let stream else {
            return Ack(stream: id, received: number(&random), credit: 0, fin: random.chance(50), reset: true)
        }
        let sent = stream.send.sent, edge = random.chance(1)
        let received = edge ? number(&random) : random.chance(50) ? sent : UInt64.random(in: 0...sent, using: &random)
        let fin = received == sent && stream.send.end == .sent && random.chance(80)
        let credit = random.chance(50) ? sent &+ 50_000 : number(&random)
        return Ack(stream: id, received: received, credit: credit, fin: fin || edge, reset: false)
    }
}

/// Does with a session what an owner may do, at random.
private struct RandomOwner {
    let peer: ScriptedPeer
    /// Streams it has not let go of.
    private var streams: [SessionStream] = []

    init(_ peer: ScriptedPeer) { self.peer = peer }

    mutating func act(_ random: inout Seeded) {
        peer.take = random.chance(30) ? { _ in 0 } : random.chance(50) ? { $0 } : { $0 / 2 }
        for event in peer.takeEvents() {
            if case .opened(let stream) = event { streams.append(stream) }
        }
        if peer.session.canOpen, random.chance(20) {
            streams.append(peer.session.open(service: "s\(random.below(2))", now: peer.now))
        }
        for stream in streams where random.chance(30) { act(on: stream, &random) }
        if random.chance(20) { streams.removeAll(where: \.isGone) }
        if random.chance(3) { peer.session.goaway(.draining, "") }
        peer.pass(UInt64(random.below(30_000_000)))
        if random.chance(80) { _ = peer.said() }
    }

    private func act(on stream: SessionStream, _ random: inout Seeded) {
        let space = peer.session.space(stream)
        if space > 0, random.chance(60) { peer.write(stream, [UInt8](repeating: 2, count: 1 + random.below(space))) }
        if stream.undelivered > 0, random.chance(50) {
            peer.session.consume(stream, 1 + random.below(stream.undelivered), now: peer.now)
        }
        if random.chance(10) { peer.session.finish(stream, now: peer.now) }
        if random.chance(8) {
            peer.session.reset(stream, ResetReason(.localClosed, ""), afterData: random.chance(50), now: peer.now)
        }
    }

    /// Lets everything go, after which nothing may be counted.
    mutating func checkCounts(_ comment: Comment) {
        for stream in streams + peer.session.streams {
            peer.session.reset(stream, ResetReason(.shutdown, ""), now: peer.now)
        }
        for case .opened(let stream) in peer.takeEvents() {
            peer.session.reset(stream, ResetReason(.shutdown, ""), now: peer.now)
        }
        streams = []
        // Delayed acknowledgements hold on to streams for their time.
        peer.pass(SessionConfiguration.ackDelay)
        _ = peer.takeEvents()
        _ = peer.said()
        #expect(peer.session.streamCount == 0 && peer.session.table.isEmpty && peer.session.opens.isEmpty, comment)
        #expect(peer.budget.used == 0 && peer.pool.inUse == 0, comment)
    }
}
