import CulvertIO
import CulvertTLS

/// Why there is no secured connection.
struct HandshakeFailure: Error {
    enum Kind: String, CaseIterable {
        case tls, timeout, closed, system, crowded
    }
    var kind: Kind
    var text: String
}

/// Drives one TLS handshake on a fresh TCP connection, within a deadline.
final class Handshake: EventHandler {
    typealias Completion = (Result<SecuredConnection, HandshakeFailure>) -> Void

    private static let bufferSize = 32 << 10

    private let loop: EventLoop
    private let engine: any TLSEngine
    private var descriptor: Descriptor?
    private var registration: Registration?
    private var timer: TimerHandle?
    private var completion: Completion?
    /// Ciphertext received and not consumed, and to be sent.
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var isDone = false

    init(
        _ descriptor: consuming Descriptor, engine: any TLSEngine, loop: EventLoop, timeout: Duration,
        completion: @escaping Completion
    ) {
        self.loop = loop
        self.engine = engine
        self.completion = completion
        do {
            registration = try loop.register(descriptor, self)
        } catch {
            // Not from within init: the owner has no reference yet.
            timer = loop.schedule(after: .zero) { [self] in fail(.system, error.description) }
            return
        }
        self.descriptor = consume descriptor
        timer = loop.schedule(after: timeout) { [self] in
            fail(.timeout, "the TLS handshake did not end within \(timeout)")
        }
    }

    func cancel() {
        completion = nil
        release()
    }

    func ready(_ events: ReadyEvents) {
        do throws(HandshakeFailure) {
            // The client speaks first, before anything has arrived.
            try step()
            while !isDone || !output.isEmpty {
                guard try send(), !isDone, try receive() else { break }
                try step()
            }
            if isDone && output.isEmpty { succeed() }
        } catch {
            fail(error.kind, error.text)
        }
    }

    /// Lets the engine work on what has arrived.
    private func step() throws(HandshakeFailure) {
        guard !isDone else { return }
        let result = input.withUnsafeBytes { bytes in
            Result { () throws(TLSError) in try engine.handshake(bytes) }
        }
        if case .success(let step) = result {
            input.removeFirst(step.consumed)
            isDone = step.done
        }
        drainEngine()
        if case .failure(let failure) = result {
            // The alert tells the peer; whether it gets through changes nothing here.
            _ = try? send()
            throw HandshakeFailure(kind: .tls, text: failure.description)
        }
    }

    private func drainEngine() {
        let pending = engine.pendingOutput
        guard pending > 0 else { return }
        output.append(
            contentsOf: [UInt8](unsafeUninitializedCapacity: pending) { buffer, count in
                count = engine.drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
            })
    }

    /// - Returns: false if the socket takes no more now.
    private func send() throws(HandshakeFailure) -> Bool {
        while !output.isEmpty {
            switch output.withUnsafeBytes({ descriptor!.write($0) }) {
            case .bytes(let count): output.removeFirst(count)
            case .wouldBlock: return false
            case .endOfStream: throw HandshakeFailure(kind: .closed, text: "closed during the TLS handshake")
            case .failed(let errno):
                throw HandshakeFailure(kind: .system, text: IOError(errno: errno, operation: "TLS handshake").description)
            }
        }
        return true
    }

    /// - Returns: false if nothing has arrived.
    private func receive() throws(HandshakeFailure) -> Bool {
        let outcome = withUnsafeTemporaryAllocation(byteCount: Self.bufferSize, alignment: 16) { buffer in
            let outcome = descriptor!.read(into: buffer)
            if case .bytes(let count) = outcome { input.append(contentsOf: buffer[..<count]) }
            return outcome
        }
        switch outcome {
        case .bytes: return true
        case .wouldBlock: return false
        case .endOfStream: throw HandshakeFailure(kind: .closed, text: "the peer closed during the TLS handshake")
        case .failed(let errno):
            throw HandshakeFailure(kind: .system, text: IOError(errno: errno, operation: "TLS handshake").description)
        }
    }

    private func succeed() {
        guard let completion = completion.take() else { return }
        detach()
        completion(.success(SecuredConnection(descriptor: descriptor.take()!, engine: engine, leftover: input)))
    }

    /// Gives up; the completion is told.
    func fail(_ kind: HandshakeFailure.Kind, _ text: String) {
        guard let completion = completion.take() else { return }
        release()
        completion(.failure(HandshakeFailure(kind: kind, text: text)))
    }

    private func release() {
        detach()
        descriptor = nil
    }

    private func detach() {
        if let registration = registration.take() { loop.deregister(registration) }
        if let timer = timer.take() { loop.cancel(timer) }
    }
}
