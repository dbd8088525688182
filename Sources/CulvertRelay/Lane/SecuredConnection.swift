import CulvertIO
import CulvertTLS

/// A TCP connection whose TLS handshake is over: who the other end is, is known; nothing of the protocol was said yet.
final class SecuredConnection {
    private var descriptor: Descriptor?
    let engine: any TLSEngine
    /// Ciphertext that arrived behind the handshake.
    let leftover: [UInt8]
    let local: String
    let remote: String

    init(descriptor: consuming Descriptor, engine: any TLSEngine, leftover: [UInt8]) {
        local = descriptor.localAddress
        remote = descriptor.remoteAddress
        self.descriptor = consume descriptor
        self.engine = engine
        self.leftover = leftover
    }

    /// - Precondition: called once.
    func takeDescriptor() -> Descriptor { descriptor.take()! }
}
