import Glibc

/// The association of two relays: multiplexes streams over its lanes, keeps them in order and within their credit, and
/// outlives every lane.
///
/// Performs no I/O and reads no clock. Bytes from the peer go in through `receive`, frames for it come out through
/// `transmit`, both for one lane; time comes in as nanoseconds since any epoch; what happened is fetched with `nextEvent`.
/// After any call the owner fetches the events, then transmits on each lane, and calls `advance` at `deadline`.
/// Belongs to one thread.
public final class Session {
    public let configuration: SessionConfiguration
    /// All zeros on the listening side until the peer's HELLO.
    public internal(set) var id: SessionID
    /// The peer's HELLO, once it has arrived.
    public internal(set) var peer: Hello?
    /// In the order in which they came.
    public internal(set) var lanes: [SessionLane] = []
    /// The shortest lane's round trip as last measured, in nanoseconds.
    public var roundTrip: UInt64? { lanes.lazy.compactMap { $0.roundTrip }.min() }
    /// The least round trip of the longest lane.
    public var leastRoundTrip: UInt64? { lanes.lazy.compactMap { $0.leastRoundTrip }.max() }
    /// What a window has to span. Bytes that queue on the only lane need no more of it. Of several, one's queue holds up
    /// what the others carry, so there the last measurement counts, which has waited in that queue.
    var spannedRoundTrip: UInt64? {
        lanes.count > 1 ? lanes.lazy.compactMap { $0.roundTrip }.max() : leastRoundTrip
    }
    /// This side opens no new streams: either side said GOAWAY.
    public var isDraining: Bool { saidGoaway || heardGoaway }
    /// The peer opens no more streams.
    public var hasHeardGoaway: Bool { heardGoaway }

    let pool: ChunkPool
    let ledger: StreamLedger
    var encoder = FrameEncoder()
    let packer: Packer?
    var events = Fifo<SessionEvent>()

    /// Streams with an id.
    var table: [UInt64: SessionStream] = [:]
    var opens = OpenQueue()
    var scheduler = Scheduler()
    var nextID: UInt64
    var highestPeerID: UInt64 = 0

    /// Known to both relays and nobody else: what lets a further lane in.
    var secret: SessionID
    var nextLane: UInt32 = 0
    /// Since when there has been no lane that could carry anything.
    var detachedSince: UInt64?
    var openingLane: SessionLane?
    /// Until when lanes are pinged often.
    var comparedUntil: UInt64 = 0
    /// OPENs that the peer has not been seen to know, in order; those of them to be sent again; the last one it knows.
    var opensInFlight = Fifo<Open>()
    var reopens = Fifo<Open>()
    var confirmedOpen: UInt64 = 0

    /// Session frames that wait to be sent, each at most once or coalesced.
    var goawayDue: Goaway?
    var saidGoaway = false
    var heardGoaway = false
    /// What the peer opens is refused. Not when another session takes over: what it opened before it heard of that is served.
    public private(set) var refusesOpens = false
    /// It said, or is about to say, a GOAWAY that nothing follows.
    var hasFailed = false
    /// The GOAWAY that lets streams finish, to be repeated when a lane was lost.
    var farewell: Goaway?
    var acks = Fifo<SessionStream>()
    /// Streams that have ended since those that are over were last taken out of the queues.
    var endedSinceTidy = 0
    var delayedAcks = Fifo<SessionStream>()
    var delayedAcksDeadline: UInt64?
    var resets = Fifo<UInt64>()
    /// Resets that the peer has not acknowledged, by stream.
    var unconfirmedResets: [UInt64: Reset] = [:]
    var resetAcks = Fifo<Ack>()
    /// Last words on streams that are forgotten, which went down with a lane.
    var lastWords = Fifo<Ack>()
    /// Streams that wait for room in the memory budget.
    var starved = Fifo<SessionStream>()
    var starvedDeadline: UInt64?

    var now: UInt64

    /// - Parameters:
    ///   - codec: compresses and undoes the peer's compression; nil: neither.
    ///   - budget: shared with other sessions through its parent.
    ///   - now: nanoseconds since any epoch, the same for every call.
    public init(
        configuration: SessionConfiguration, id: SessionID? = nil, codec: (any BlockCodec)? = nil, pool: ChunkPool,
        budget: MemoryBudget, now: UInt64
    ) {
        self.configuration = configuration
        self.pool = pool
        packer = codec.map(Packer.init)
        ledger = StreamLedger(budget: budget)
        self.now = now
        switch configuration.role {
        case .dialler:
            self.id = id ?? .random()
            secret = .random()
            nextID = 1
        case .listener:
            self.id = SessionID(high: 0, low: 0)
            secret = self.id
            nextID = 2
        }
    }

    /// Payload that went out and came in compressed, and the bytes that it took.
    public var compressed: (sent: (plain: UInt64, packed: UInt64), received: (plain: UInt64, packed: UInt64)) {
        (packer?.sent ?? (0, 0), packer?.received ?? (0, 0))
    }

    /// What this side offers, and what both do.
    var features: Features { configuration.features.union(packer == nil ? [] : .lz4) }
    public var commonFeatures: Features { peer?.features.intersection(features) ?? [] }

    public var hasEvents: Bool { !events.isEmpty }

    public func nextEvent() -> SessionEvent? {
        while let event = events.popFirst() {
            if !(event.stream?.isAbandoned ?? false) { return event }
        }
        return nil
    }

    /// Streams that exist, in no order; those that wait for their OPEN are not among them.
    public var streams: [SessionStream] { Array(table.values) }

    /// The stream of that id, if it exists and its OPEN has gone out.
    public func stream(_ id: UInt64) -> SessionStream? { table[id] }

    /// Streams of both sides that are not over: they send or receive, or have bytes to deliver.
    public var streamCount: Int { ledger.own + ledger.peer }

    // MARK: Streams

    /// Asks the peer for a service. The stream takes bytes at once; its OPEN goes out with the first of them.
    /// - Precondition: the session is established, `canOpen`, and `service` has at most 255 UTF-8 bytes.
    public func open(service: String, priority: Priority = .auto, now: UInt64) -> SessionStream {
        guard let peer, !isDraining else { preconditionFailure("open on a session that takes none") }
        precondition(service.utf8.count <= WireLimit.service, "a service's name of \(service.utf8.count) bytes")
        self.now = now
        let stream = SessionStream(
            id: 0, service: service, priority: priority, outgoing: true,
            state: .waiting(deadline: now + configuration.openWait),
            send: SendHalf(pool: pool, credit: peer.initialCredit),
            receive: ReceiveHalf(pool: pool, window: initialWindow()), ledger: ledger)
        opens.add(stream)
        return stream
    }

    /// Whether the peer's limit lets this side open one more stream.
    public var canOpen: Bool { ledger.own < ownLimit && !isDraining }

    /// What the peer allows, within reason: its number is also what it may be owed answers for.
    var ownLimit: Int { min(peer.map { Int($0.maximumStreams) } ?? 0, 1 << 16) }

    /// Streams that wait for their turn to send.
    public var backlog: Int { scheduler.count }

    /// How many bytes `write` would take now. If 0, `SessionEvent.writable` tells when to ask again.
    public func space(_ stream: SessionStream) -> Int {
        guard stream.state != .gone, !stream.isAbandoned, stream.send.end == .open else { return 0 }
        var space = min(
            SessionConfiguration.readAhead - stream.send.unsent,
            configuration.streamWindow - stream.send.queue.count)
        let inHand = stream.send.queue.allocated == 0 ? Chunk.capacity : stream.send.queue.slack
        if space > inHand, !ledger.budget.hasRoom(for: space - inHand + Chunk.size) {
            space = inHand
            if space == 0 { starve(stream) }
        }
        if space <= 0 { stream.wantsSpace = true }
        return max(0, space)
    }

    /// Lets `fill` write at most `limit` bytes into the stream's buffer and say how many it wrote.
    /// - Precondition: `0 < limit <= space(stream)`.
    public func write<Result>(
        _ stream: SessionStream, upTo limit: Int, now: UInt64,
        _ fill: (UnsafeBufferPointer<iovec>) -> (count: Int, result: Result)
    ) -> Result {
        self.now = now
        let result = stream.send.queue.write(upTo: limit, fill)
        stream.recount()
        becameSendable(stream)
        return result
    }

    /// No more bytes will be written; the peer learns it after the last one.
    public func finish(_ stream: SessionStream, now: UInt64) {
        self.now = now
        guard stream.state != .gone, !stream.isAbandoned else { return }
        stream.send.finish()
        becameSendable(stream)
    }

    /// The local side takes no more: what it received and was not consumed, and what still arrives, is dropped. The peer may
    /// go on, but is never told that the end was delivered; a reset has to follow.
    public func dropWhatArrives(_ stream: SessionStream, now: UInt64) {
        self.now = now
        stream.receive.discard()
        stream.recount()
        delivered(stream)
    }

    /// Ends the stream in both directions; its owner hears no more of it. What it received and was not consumed, and what
    /// still arrives, is dropped.
    /// - Parameter afterData: what was written before arrives first, as fast as the peer takes it. A second call without
    ///   it cuts that short. A stream whose turn to be opened has not come is dropped with what was written.
    public func reset(_ stream: SessionStream, _ reason: ResetReason, afterData: Bool = false, now: UInt64) {
        self.now = now
        stream.isAbandoned = true
        stream.receive.discard()
        switch stream.state {
        case .gone:
            stream.recount()
        case .waiting:
            remove(stream)
            // Those behind it must not wait for it.
            opens.release(stream.service, now: now) { release($0) }
        case .active, .resetting:
            if afterData, !stream.send.isAcknowledged || stream.id == 0 {
                stream.state = .resetting(reason)
                becameSendable(stream)
                delivered(stream)
            } else if stream.id == 0 {
                // The peer never heard of it.
                remove(stream)
            } else {
                sendReset(stream, reason)
            }
        }
    }

    /// What has been received and not consumed, in at most `pieces` pieces; `drain` reads it.
    public func read<Result>(
        _ stream: SessionStream, pieces: Int, _ drain: (UnsafeBufferPointer<iovec>) -> Result
    ) -> Result {
        stream.receive.queue.read(pieces: pieces, drain)
    }

    /// The first `count` undelivered bytes were taken by the local side.
    public func consume(_ stream: SessionStream, _ count: Int, now: UInt64) {
        self.now = now
        stream.receive.queue.release(upTo: stream.receive.queue.start + UInt64(count))
        stream.recount()
        delivered(stream)
    }

    /// Refuses what the peer opens from now on, whether it was told by GOAWAY or not.
    public func refuseOpens() { refusesOpens = true }

    /// Tells the peer that the session takes no new streams. Unless the code lets open streams finish, nothing is sent
    /// after it, and of several such calls the first one's reason is told.
    public func goaway(_ code: GoawayCode, _ text: String) {
        // Also if another session has taken over: the peer may never say that it knows.
        if code != .superseded { refuseOpens() }
        guard !hasFailed, !(saidGoaway && code.letsStreamsFinish) else { return }
        saidGoaway = true
        hasFailed = !code.letsStreamsFinish
        let goaway = Goaway(code: code, lastStream: highestPeerID, text: text)
        goawayDue = goaway
        if code.letsStreamsFinish { farewell = goaway }
    }
}
