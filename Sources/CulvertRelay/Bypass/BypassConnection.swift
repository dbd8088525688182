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
    private var registration: Registration?
    private var wake: () -> Void = {}

    /// - Parameters:
    ///   - sending: which of the connection's directions is used; the other one carries nothing.
    ///   - keepalive: how long the peer may be silent.
    init(
        _ connection: SecuredConnection, mode: BypassMode, sending: Bool, keepalive: Duration, loop: EventLoop
    ) throws(BypassFailure) {
        self.mode = mode
        self.loop = loop
        remote = connection.remote
        descriptor = connection.takeDescriptor()
        guard connection.leftover.isEmpty else { throw BypassFailure("bytes came on it that nobody was to send yet") }
        descriptor.tuneForLane(notSentLowWater: 1 << 20, userTimeout: keepalive)
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

    /// - Parameter wake: called when bytes may be moved again.
    func begin(_ wake: @escaping () -> Void) throws(IOError) {
        self.wake = wake
        registration = try loop.register(descriptor, self)
    }

    func ready(_ events: ReadyEvents) { wake() }

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
        if let registration = registration.take() { loop.deregister(registration) }
        wake = {}
    }
}

/// Why a stream goes on inside its session.
struct BypassFailure: Error {
    var text: String
    init(_ text: String) { self.text = text }
}
