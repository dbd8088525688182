import CulvertIO
import CulvertProtocol
import CulvertTLS

/// Told that a lane has something to do.
protocol LaneOwner: AnyObject {
    func attend()
}

/// A lane whose work is done where it is asked for: frames to ciphertext to socket, and back, in batches of 256 KiB.
///
/// It is on one loop at a time, and can be taken to another one.
final class DirectLane: Lane, EventHandler, FrameSink {
    /// Bytes a system call moves at most. 1 MiB falls out of the second-level cache and gains nothing.
    private static let batch = LaneBatch.capacity
    /// Bytes that the kernel may hold unsent: what goes next is decided late, so urgent frames wait behind little.
    private static let notSent = 256 << 10
    static let largestFrame = 64 << 10
    /// Frames shorter than this share a TLS record with their neighbours.
    private static let smallFrame = 4 << 10
    private static let stagingCapacity = 16 << 10
    /// Batches received in a row before others get their turn.
    private static let receiveTurns = 4

    private(set) var loop: EventLoop
    /// Nil once it was given up.
    private var descriptor: Descriptor?
    private let engine: any TLSEngine
    private var registration: Registration?
    /// First whoever waits for the peer's HELLO, then the session that it names, or who works for it on another loop.
    unowned var owner: any LaneOwner

    private var outbound: LinearBuffer
    private var inbound: LinearBuffer
    private var plaintext = LaneBatch()
    private var staging: LinearBuffer

    private(set) var mayRead = true
    private var mayWrite = true
    private(set) var failure: String?
    /// The peer closed it on purpose.
    private(set) var wasClosed = false
    /// Why nothing can be sent any more. What has arrived may hold the reason behind that, so it is read first.
    private var sendFailure: String?

    let local: String
    let remote: String
    private(set) var bytesSent: UInt64 = 0
    private(set) var bytesReceived: UInt64 = 0
    var summary: String { engine.summary }
    var loopName: String { loop.name }

    /// - Parameter keepalive: after which sent bytes that nobody acknowledges break the connection.
    init(
        _ connection: SecuredConnection, loop: EventLoop, keepalive: Duration, owner: any LaneOwner
    ) throws(IOError) {
        self.loop = loop
        self.owner = owner
        engine = connection.engine
        local = connection.local
        remote = connection.remote
        outbound = LinearBuffer(capacity: Self.batch + Self.room(connection.engine, staged: Self.stagingCapacity))
        inbound = LinearBuffer(capacity: max(Self.batch, connection.leftover.count))
        staging = LinearBuffer(capacity: Self.stagingCapacity)
        let descriptor = connection.takeDescriptor()
        descriptor.tuneForLane(notSentLowWater: Self.notSent, keepalive: keepalive)
        connection.leftover.withUnsafeBytes { inbound.append($0) }
        bytesReceived = UInt64(connection.leftover.count)
        registration = try loop.register(descriptor, self)
        self.descriptor = consume descriptor
    }

    /// Lets go of its loop, so that it can be taken to another one. Not from within `receive` or `flush`.
    func leaveLoop() {
        if let registration = registration.take() { loop.deregister(registration) }
    }

    /// On the thread of `loop`. What is ready already is reported to `owner` as if it were news.
    func enter(_ loop: EventLoop, owner: any LaneOwner) throws(IOError) {
        self.loop = loop
        self.owner = owner
        registration = try loop.register(descriptor!, self)
    }

    /// The connection as it was before it became a lane. Not from within `receive`.
    /// - Returns: nil if something has arrived on it that was not handed on.
    func surrender() -> SecuredConnection? {
        guard inbound.isEmpty, isFlushed, failure == nil else { return nil }
        leaveLoop()
        return SecuredConnection(descriptor: descriptor.take()!, engine: engine, leftover: [])
    }

    /// Takes away the bytes that `receive` has just handed on, in their buffer.
    func takePlaintext(count: Int, leaving fresh: LaneBatch) -> LaneBatch {
        let full = exchange(&plaintext, with: fresh)
        full.count = count
        return full
    }

    func ready(_ events: ReadyEvents) {
        if events.contains(.readable) { mayRead = true }
        if events.contains(.writable) { mayWrite = true }
        owner.attend()
    }

    func receive(_ handle: (UnsafeRawBufferPointer) -> Bool) {
        var turns = Self.receiveTurns
        while failure == nil {
            // An alert is the cause; the end of the connection that follows it is not.
            guard decrypt(handle), failure == nil, mayRead, turns > 0 else { return }
            turns -= 1
            fill()
        }
    }

    /// - Returns: false if `handle` did.
    private func decrypt(_ handle: (UnsafeRawBufferPointer) -> Bool) -> Bool {
        while !inbound.isEmpty {
            let step: TLSDecrypted
            do {
                step = try engine.decrypt(inbound.readable, into: plaintext.memory)
            } catch {
                failure = error.description
                return true
            }
            inbound.consume(step.consumed)
            if step.ended {
                failure = "the peer closed the connection"
                wasClosed = true
            }
            if step.produced > 0, !handle(UnsafeRawBufferPointer(rebasing: plaintext.memory[..<step.produced])) {
                return false
            }
            if step.ended || step.consumed == 0 && step.produced == 0 { break }
        }
        return true
    }

    private func fill() {
        inbound.compact()
        let space = inbound.writable
        switch descriptor!.read(into: space) {
        case .bytes(let count):
            inbound.produce(count)
            bytesReceived += UInt64(count)
        case .wouldBlock:
            mayRead = false
            failure = sendFailure
        case .endOfStream: failure = "the peer closed the connection without saying why"
        case .failed(let errno): failure = IOError(errno: errno, operation: "receive from \(remote)").description
        }
    }

    func flush(_ session: Session, _ half: SessionLane) {
        flush { session.transmit(on: half, into: self, now: loop.now) }
    }

    /// Sends until there is nothing to send or the socket is full.
    /// - Parameter fetch: `put`s what comes next; all before it is with the kernel.
    func flush(_ fetch: () -> Void) {
        while failure == nil, sendFailure == nil, mayWrite {
            if outbound.isEmpty {
                outbound.compact()
                fetch()
                seal()
                drainEngine()
                if outbound.isEmpty { return }
            }
            send()
        }
    }

    var isFlushed: Bool { outbound.isEmpty && staging.isEmpty }
    var linkBusy: UInt64 { descriptor?.linkBusy ?? 0 }

    private func send() {
        switch descriptor!.write(outbound.readable) {
        case .bytes(let count):
            outbound.consume(count)
            bytesSent += UInt64(count)
        case .wouldBlock, .endOfStream: mayWrite = false
        case .failed(let errno):
            sendFailure = IOError(errno: errno, operation: "send to \(remote)").description
            mayRead = true
        }
    }

    /// Tells the peer why this connection is of no use, and closes it.
    func refuse(_ goaway: Goaway) {
        goaway.frame.withUnsafeBytes { put($0) }
        seal()
        close()
    }

    func close() {
        guard let registration = registration.take() else { return }
        if failure == nil, sendFailure == nil { engine.close() }
        // After a bad record this is the alert that tells the peer so.
        drainEngine()
        if !outbound.isEmpty { send() }
        loop.deregister(registration)
        descriptor!.shutdownWrite()
        failure = failure ?? "closed"
    }

    // MARK: FrameSink

    var hasRoom: Bool {
        outbound.count < Self.batch
            && outbound.writable.count >= Self.room(engine, staged: staging.count)
    }

    /// Ciphertext of the small frames gathered so far and of a large one behind them. They are encrypted one after the other, and
    /// either may bring a new key.
    private static func room(_ engine: any TLSEngine, staged: Int) -> Int {
        engine.maximumCiphertext(for: staged) + engine.maximumCiphertext(for: largestFrame)
    }

    func put(_ frame: UnsafeRawBufferPointer) {
        if frame.count < Self.smallFrame {
            if staging.writable.count < frame.count { seal() }
            staging.append(frame)
        } else {
            seal()
            encrypt(frame)
        }
    }

    /// Encrypts the small frames gathered so far.
    private func seal() {
        guard !staging.isEmpty else { return }
        encrypt(staging.readable)
        staging.removeAll()
    }

    private func encrypt(_ plaintext: UnsafeRawBufferPointer) {
        guard failure == nil else { return }
        do {
            outbound.produce(try engine.encrypt(plaintext, into: outbound.writable))
        } catch {
            failure = error.description
        }
    }

    /// What the engine has to say on its own: key updates, alerts.
    private func drainEngine() {
        while engine.pendingOutput > 0, !outbound.writable.isEmpty {
            outbound.produce(engine.drainOutput(into: outbound.writable))
        }
    }
}
