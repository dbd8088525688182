import CulvertIO
import CulvertProtocol
import CulvertTLS
import Glibc

/// How bytes that pass by the session are protected.
enum BypassMode: String {
    /// TLS records, made and read by the kernels.
    case kernel
    /// Nothing protects them.
    case plain

    /// What both relays want of the bulk between them; nil: that it stays in the session.
    init?(_ common: Features) {
        if common.contains(.kernelBypass) {
            self = .kernel
        } else if common.contains(.plainBypass) {
            self = .plain
        } else {
            return nil
        }
    }

    var protection: BulkProtection {
        switch self {
        case .kernel: .kernel
        case .plain: .none
        }
    }
}

extension BulkProtection {
    /// What is offered to the peer.
    var features: Features {
        switch self {
        case .userspace: []
        case .kernel: KernelTLS.isAvailable ? .kernelBypass : []
        case .none: .plainBypass
        }
    }
}

/// A connection for one direction of one stream. TLS has said whose it is, and goes no further in this process.
final class BypassConnection: EventHandler {
    let descriptor: Descriptor
    let remote: String
    private let mode: BypassMode
    private let loop: EventLoop
    /// How long the peer may be silent.
    private let keepalive: Duration
    private var registration: Registration?
    private var wake: () -> Void = {}
    private var isDead: (String) -> Void = { _ in }
    private var watch = SilenceWatch()
    private var nextLook: TimerHandle?

    /// - Parameter sending: which of the connection's directions is used; the other one carries nothing.
    init(_ connection: SecuredConnection, mode: BypassMode, sending: Bool, session: LiveSession) throws(BypassFailure) {
        self.mode = mode
        loop = session.loop
        keepalive = session.peer.environment.limits.keepalive
        remote = connection.remote
        descriptor = connection.takeDescriptor()
        guard connection.leftover.isEmpty else { throw BypassFailure("bytes came on it that nobody was to send yet") }
        // What the receiver's program does not take is not read, and the sender sees a peer without room.
        descriptor.tuneForLane(notSentLowWater: 1 << 20, keepalive: keepalive, mayRest: true)
        guard mode == .kernel else { return }
        do {
            let isGiven = try connection.engine.withKernelKey(sending: sending) { key, nonce, sequence throws(IOError) in
                try descriptor.startKernelTLS(sending: sending, key: key, nonce: nonce, sequence: sequence)
            }
            guard isGiven else { throw BypassFailure("its cipher is not one that the kernel is given") }
        } catch let failure as BypassFailure {
            throw failure
        } catch {
            throw BypassFailure("\(error)")
        }
    }

    /// - Parameters:
    ///   - wake: called when bytes may be moved again.
    ///   - isDead: told why nothing will move any more, if no event says so.
    func begin(_ wake: @escaping () -> Void, isDead: @escaping (String) -> Void) throws(BypassFailure) {
        do throws(IOError) {
            registration = try loop.register(descriptor, self)
        } catch {
            throw BypassFailure(error.description)
        }
        self.wake = wake
        self.isDead = isDead
        look()
    }

    func ready(_ events: ReadyEvents) { wake() }

    private func look() {
        nextLook = loop.schedule(after: keepalive / 4) { [unowned self] in
            if let answers = descriptor.answers, watch.isOver(answers, now: loop.now, limit: keepalive.nanoseconds) {
                isDead("nothing that was sent was answered for \(keepalive)")
            } else {
                look()
            }
        }
    }

    /// Why nothing more can be sent; nil if there is no reason, or it was told before.
    var failure: String? {
        descriptor.takeError().map { IOError(errno: $0, operation: "send").description }
    }

    /// What it means, for people, that nothing more can be received. The numbers are those of Linux's net/tls.
    func failure(toReceive errno: CInt) -> String {
        switch (mode, errno) {
        case (.kernel, EINVAL), (.kernel, EIO): "the peer sent what is no data, such as an alert or a key update"
        case (.kernel, EBADMSG), (.kernel, EMSGSIZE):
            "a record from the peer is not acceptable; something on the way changed it, or the peer is at fault"
        default: IOError(errno: errno, operation: "receive").description
        }
    }

    func close() {
        guard let registration = registration.take() else { return }
        loop.deregister(registration)
        if let nextLook = nextLook.take() { loop.cancel(nextLook) }
        wake = {}
        isDead = { _ in }
        // In the next iteration: before the peer hears that the connection is gone, the session is to have told it why.
        loop.schedule(after: .zero) { _ = self }
    }
}

/// Why a stream goes on inside its session.
struct BypassFailure: Error {
    var text: String
    init(_ text: String) { self.text = text }
}
