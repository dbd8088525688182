import CulvertIO
import CulvertProtocol
import Logging

/// A local listening socket whose connections become streams to a peer's service. Lives on the peer's loop.
final class Forward {
    private static let remembered = 16

    let id: String
    let settings: ForwardSettings
    let origin: Origin
    /// Where it listens, with the real port.
    private(set) var endpoint: Endpoint
    private let peer: Peer
    private var listener: Listener?
    private var lease: TimerHandle?
    private var expires: Double?
    private let onExpiry: @Sendable (String) -> Void

    private var accepted: UInt64 = 0
    private var active = 0
    private var outcomes: [StreamOutcome] = []

    enum Origin: String, Sendable { case config, admin }

    /// - Parameter onExpiry: called with the id when the forward closed by itself.
    init(
        id: String, settings: ForwardSettings, origin: Origin, peer: Peer,
        onExpiry: @escaping @Sendable (String) -> Void
    ) throws(IOError) {
        self.id = id
        self.settings = settings
        self.origin = origin
        self.peer = peer
        self.onExpiry = onExpiry
        endpoint = settings.listen
        listener = try Listener(endpoint: settings.listen, unix: settings.unix, loop: peer.loop) { [unowned self] in
            accept($0)
        }
        endpoint = listener!.local
        renew()
    }

    var isListening: Bool { listener != nil }

    private func accept(_ descriptor: consuming Descriptor) {
        accepted += 1
        active += 1
        // Whatever becomes of it, nothing but the end of its stream is to look like one.
        descriptor.resetOnClose(true)
        // Once taken, a client has its stream; the lease was for the waiting.
        if settings.once { close() }
        peer.connect(descriptor, through: self)
    }

    /// Starts the lease anew.
    func renew() {
        guard let time = settings.lease, isListening else { return }
        if let lease = lease.take() { peer.loop.cancel(lease) }
        expires = wallClock() + time / .seconds(1)
        lease = peer.loop.schedule(after: time) { [self] in
            peer.logger.info("forward \(id) at \(endpoint) removed: its lease of \(time) ran out")
            close()
            onExpiry(id)
        }
    }

    /// Accepts no more. Streams that came through it go on.
    func close() {
        if let lease = lease.take() { peer.loop.cancel(lease) }
        expires = nil
        listener?.close()
        listener = nil
    }

    /// A stream of this forward is over, or a connection came to nothing.
    func ended(_ leg: Leg?, _ reason: ResetReason?, remote: Bool) {
        active -= 1
        if outcomes.count == Self.remembered { outcomes.removeFirst() }
        outcomes.append(StreamOutcome(
            stream: leg?.stream.id ?? 0, time: wallClock(), bytesSent: leg?.bytesSent ?? 0,
            bytesReceived: leg?.bytesReceived ?? 0, reset: reason.map { ResetReport($0, remote: remote) }))
        if settings.once, !isListening {
            // Whoever made it asks how it went; after that nobody does.
            lease = peer.loop.schedule(after: .seconds(10)) { [self] in onExpiry(id) }
        }
    }

    var status: ForwardStatus {
        ForwardStatus(
            id: id, listen: endpoint.description, to: settings.to.description, origin: origin.rawValue, expires: expires,
            accepted: accepted, active: active, ended: outcomes)
    }
}

extension ResetReport {
    init(_ reason: ResetReason, remote: Bool) {
        self.init(
            code: reason.code.description,
            errno: reason.errno == 0 ? nil : IOError(errno: CInt(truncatingIfNeeded: reason.errno), operation: "").name,
            text: reason.text, remote: remote)
    }
}
