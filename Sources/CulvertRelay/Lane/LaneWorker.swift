import CulvertIO

/// Why a connection is of no use any more.
struct LaneEnding: Sendable {
    var text: String
    /// The peer closed it on purpose.
    var wasClosed: Bool
}

/// Works on the connection of an `OffloadedLane`, on a loop that is not the session's.
final class LaneWorker: LaneOwner, LoopTask {
    /// Nanoseconds.
    private static let lookInterval: UInt64 = 5_000_000

    private let lane: DirectLane
    private let loop: EventLoop
    private let home: EventLoop
    /// Nil once the lane was closed.
    private var proxy: LoopBound<OffloadedLane>?
    /// Frames that wait to be encrypted, in order.
    private var waiting: [LaneBatch] = []
    /// What the kernel has not taken all of.
    private var sending: LaneBatch?
    /// Buffers for what arrives. Without one, the connection is not read.
    private var free = (0..<OffloadedLane.batches).map { _ in LaneBatch() }
    private var linkBusy: UInt64 = 0
    private var lastLook: UInt64 = 0
    private var hasEnded = false
    private var isMarked = false

    /// - Parameter lane: on no loop.
    init(_ lane: DirectLane, loop: EventLoop, home: EventLoop, proxy: LoopBound<OffloadedLane>) {
        self.lane = lane
        self.loop = loop
        self.home = home
        self.proxy = proxy
    }

    // MARK: From the session's loop

    func start() {
        do {
            try lane.enter(loop, owner: self)
            attend()
        } catch {
            end(LaneEnding(text: error.description, wasClosed: false))
        }
    }

    func send(_ batch: LaneBatch) {
        waiting.append(batch)
        attend()
    }

    /// A buffer that the session has read.
    func refill(_ batch: LaneBatch) {
        free.append(batch)
        attend()
    }

    func close() {
        flush()
        lane.close()
        proxy = nil
    }

    // MARK: On its own loop

    func attend() {
        guard !isMarked, proxy != nil else { return }
        isMarked = true
        loop.enqueue(self)
    }

    func run() {
        isMarked = false
        guard proxy != nil, !hasEnded else { return }
        receive()
        flush()
        if let failure = lane.failure { return end(LaneEnding(text: failure, wasClosed: lane.wasClosed)) }
        if lane.mayRead, !free.isEmpty { attend() }
    }

    private func receive() {
        guard !free.isEmpty else { return }
        lane.receive { bytes in
            let full = Transferred(lane.takePlaintext(count: bytes.count, leaving: free.removeLast()))
            report { [total = lane.bytesReceived] in $0.received(full.take(), total: total) }
            return !free.isEmpty
        }
    }

    private func flush() {
        lane.flush {
            if let sent = sending.take() {
                let empty = Transferred(sent)
                lookAtLink()
                report { [total = lane.bytesSent, linkBusy] in $0.sent(empty.take(), total: total, linkBusy: linkBusy) }
            }
            guard !waiting.isEmpty else { return }
            let next = waiting.removeFirst()
            lane.put(next.bytes)
            sending = next
        }
    }

    /// A system call, but not for every batch.
    private func lookAtLink() {
        guard loop.now - lastLook > Self.lookInterval else { return }
        lastLook = loop.now
        linkBusy = lane.linkBusy
    }

    private func end(_ ending: LaneEnding) {
        hasEnded = true
        report { $0.ended(ending) }
    }

    private func report(_ body: @escaping @Sendable (OffloadedLane) -> Void) {
        guard let proxy else { return }
        home.execute { body(proxy.value) }
    }
}
