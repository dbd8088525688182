import CulvertIO
import CulvertProtocol

/// A lane whose connection is worked on by another loop, so that one session can use several cores.
///
/// What crosses between the loops are batches of frames, in a fixed number of buffers: an empty buffer is leave to fill it.
/// So neither loop can run ahead of the other by more than these, and a full socket is felt by the session.
final class OffloadedLane: Lane, FrameSink {
    /// Batches in each direction: one is worked on while the other is filled.
    static let batches = 2

    let local: String
    let remote: String
    let summary: String
    var loopName: String { loop.name }
    private(set) var bytesSent: UInt64
    private(set) var bytesReceived: UInt64
    private(set) var linkBusy: UInt64 = 0
    private(set) var failure: String?
    private(set) var wasClosed = false

    private let loop: EventLoop
    private let home: EventLoop
    private unowned let owner: any LaneOwner
    private var worker: LoopBound<LaneWorker>?
    /// Buffers to be filled with frames; the last one is being filled.
    private var free = (0..<OffloadedLane.batches).map { _ in LaneBatch() }
    /// Decrypted frames, in order.
    private var arrived: [LaneBatch] = []
    /// Why no more will arrive.
    private var ending: LaneEnding?

    /// - Parameters:
    ///   - lane: on the session's loop, which it leaves.
    ///   - loop: that does its work from now on.
    ///   - owner: the session; told when there is something to receive, or room again.
    init(_ lane: DirectLane, to loop: EventLoop, owner: any LaneOwner) {
        local = lane.local
        remote = lane.remote
        summary = lane.summary
        bytesSent = lane.bytesSent
        bytesReceived = lane.bytesReceived
        self.loop = loop
        home = lane.loop
        self.owner = owner
        lane.leaveLoop()
        let worker = LoopBound(
            LaneWorker(lane, loop: loop, home: home, proxy: LoopBound(self, loop: home)), loop: loop)
        self.worker = worker
        loop.execute { worker.value.start() }
    }

    // MARK: From the worker

    func received(_ batch: LaneBatch, total: UInt64) {
        arrived.append(batch)
        bytesReceived = total
        notify()
    }

    /// The kernel has all of a batch.
    func sent(_ batch: LaneBatch, total: UInt64, linkBusy: UInt64) {
        batch.count = 0
        free.append(batch)
        bytesSent = total
        self.linkBusy = linkBusy
        notify()
    }

    func ended(_ ending: LaneEnding) {
        self.ending = ending
        notify()
    }

    private func notify() {
        if worker != nil { owner.attend() }
    }

    // MARK: Lane

    var mayRead: Bool { !arrived.isEmpty }

    func receive(_ handle: (UnsafeRawBufferPointer) -> Bool) {
        while !arrived.isEmpty {
            let batch = arrived.removeFirst()
            let goesOn = handle(batch.bytes)
            hand(batch) { $0.refill($1) }
            if !goesOn { return }
        }
        if let ending, failure == nil {
            failure = ending.text
            wasClosed = ending.wasClosed
        }
    }

    func flush(_ session: Session, _ half: SessionLane) {
        while ending == nil, let batch = free.last {
            session.transmit(on: half, into: self, now: home.now)
            guard batch.count > 0 else { return }
            free.removeLast()
            hand(batch) { $0.send($1) }
        }
    }

    var isFlushed: Bool { free.count == Self.batches || ending != nil }

    func close() {
        guard let worker = worker.take() else { return }
        failure = failure ?? "closed"
        loop.execute { worker.value.close() }
    }

    private func hand(_ batch: LaneBatch, _ body: @escaping @Sendable (LaneWorker, LaneBatch) -> Void) {
        guard let worker else { return }
        let box = Transferred(batch)
        loop.execute { body(worker.value, box.take()) }
    }

    // MARK: FrameSink

    var hasRoom: Bool { free.last.map { $0.room >= DirectLane.largestFrame } ?? false }

    func put(_ frame: UnsafeRawBufferPointer) { free.last!.append(frame) }
}
