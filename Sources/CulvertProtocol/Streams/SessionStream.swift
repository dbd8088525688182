/// One stream as its session sees it. Who holds it reads from it; changes go through the session.
public final class SessionStream {
    enum State: Equatable {
        /// Waits for its turn among the opens of its service, at most until the deadline.
        case waiting(deadline: UInt64)
        /// Sends and receives; its OPEN goes out first if it has no id yet.
        case active
        /// To be reset once what was written has been sent.
        case resetting(ResetReason)
        /// The session knows it no more.
        case gone
    }

    /// 0 until the OPEN goes out: ids are given in the order of OPENs.
    public internal(set) var id: UInt64
    public let service: String
    public let priority: Priority
    /// True if this side opened it.
    public let outgoing: Bool
    /// For whoever binds the stream to a socket.
    public var context: AnyObject?

    var state: State
    /// Its owner has reset it and hears no more of it.
    var isAbandoned = false
    var send: SendHalf
    var receive: ReceiveHalf
    private let ledger: StreamLedger
    /// What the ledger's budget counts for it; nil once it is written off.
    private var counted: Int? = 0
    /// A wish for `SessionEvent.writable`.
    var wantsSpace = false
    /// Waits for room in the memory budget.
    var isStarved = false
    var ackQueued = false
    var ackDelayed = false
    var schedule = Schedule()

    init(
        id: UInt64, service: String, priority: Priority, outgoing: Bool, state: State, send: consuming SendHalf,
        receive: consuming ReceiveHalf, ledger: StreamLedger
    ) {
        self.id = id
        self.service = service
        self.priority = priority
        self.outgoing = outgoing
        self.state = state
        self.send = send
        self.receive = receive
        self.ledger = ledger
        if outgoing { ledger.own += 1 } else { ledger.peer += 1 }
        recount()
    }

    deinit { writeOff() }

    /// Bytes received that were not consumed yet.
    public var undelivered: Int { receive.queue.count }
    /// The peer's direction has ended and every byte of it was consumed.
    public var isDelivered: Bool { receive.isDelivered }
    /// Bytes kept until the peer acknowledges them.
    public var unacknowledged: Int { send.queue.count }
    /// Bytes written to it, and received on it, so far.
    public var bytesWritten: UInt64 { send.queue.end }
    public var bytesReceived: UInt64 { receive.received }
    /// The peer may grant any number.
    public var sendWindow: Int { Int(clamping: send.credit - send.sent) }
    public var receiveWindow: Int { Int(receive.credit - receive.received) }
    public var sendEnded: Bool { send.end != .open }
    public var receiveEnded: Bool { receive.isComplete }
    /// The session knows it no more: nothing written to it would go anywhere.
    public var isGone: Bool { state == .gone }

    /// Brings the ledger up to date after memory or window have changed.
    func recount() {
        guard let counted else { return }
        if state == .gone && receive.queue.allocated == 0 { return writeOff() }
        let now = max(0, send.queue.allocated - Chunk.size) + max(0, receive.claim - ReceiveWindow.guaranteed)
        ledger.budget.adjust(by: now - counted)
        self.counted = now
    }

    private func writeOff() {
        guard let counted else { return }
        ledger.budget.adjust(by: -counted)
        self.counted = nil
        if outgoing { ledger.own -= 1 } else { ledger.peer -= 1 }
    }

    /// Whether the scheduler could get a frame out of it now.
    var hasFrame: Bool {
        switch state {
        case .waiting, .gone: false
        case .active: id == 0 || send.isSendable || send.endIsDue
        case .resetting: id == 0 || send.isSendable || send.isAcknowledged
        }
    }

    /// The peer may know it: it is neither waiting for its turn to be opened nor over.
    var isLive: Bool {
        switch state {
        case .active, .resetting: true
        case .waiting, .gone: false
        }
    }

    /// An OPEN is worth sending: there are first bytes, or an end.
    var hasSpoken: Bool { !send.queue.isEmpty || send.end != .open }
}
