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

    /// Sends a frame, encrypted.
    /// - Returns: false if the socket does not take all of it at once; the connection is of no use then.
    func say(_ frame: [UInt8]) -> Bool {
        let ciphertext = [UInt8](unsafeUninitializedCapacity: engine.maximumCiphertext(for: frame.count)) { buffer, count in
            count = frame.withUnsafeBytes { (try? engine.encrypt($0, into: UnsafeMutableRawBufferPointer(buffer))) ?? 0 }
        }
        return ciphertext.withUnsafeBytes { descriptor!.write($0) } == .bytes(ciphertext.count)
    }

    /// - Precondition: called once.
    func takeDescriptor() -> Descriptor { descriptor.take()! }
}
