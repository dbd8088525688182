/// A TLS engine whose handshake is a library's and whose records are our own, with the library's ciphers or faster ones.
final class Engine: TLSEngine {
    private enum State {
        case handshaking(any Handshake)
        case established(RecordLayer)
        case closed(RecordLayer)
        case failed(TLSError)
    }

    private var state: State
    private let role: TLSRole
    private let credentials: TLSCredentials
    private let accelerator: IPSecMB?
    private var opening = StrangeOpening()
    /// Waits to be sent; while the handshake lasts, this is in its own keeping.
    private var output = ByteQueue()
    private var identity: PeerIdentity?
    private(set) var summary = "TLSv1.3"

    init(_ handshake: any Handshake, _ role: TLSRole, credentials: TLSCredentials, accelerator: IPSecMB?) {
        state = .handshaking(handshake)
        self.role = role
        self.credentials = credentials
        self.accelerator = accelerator
    }

    var peer: PeerIdentity {
        guard let identity else { preconditionFailure("peer asked for before the handshake was done") }
        return identity
    }

    /// Nil before the handshake is done and after a failure.
    var records: RecordLayer? {
        switch state {
        case .established(let records), .closed(let records): records
        case .handshaking, .failed: nil
        }
    }

    func handshake(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, done: Bool) {
        switch state {
        case .established, .closed: return (0, true)
        case .failed(let error): throw error
        case .handshaking(let handshake):
            defer { output.append(handshake.takeOutput()) }
            do throws(TLSError) {
                // What is no TLS is not for the library.
                guard try !opening.isStrange(input) else { return (input.count, false) }
                let (consumed, outcome) = try handshake.step(input)
                guard let outcome else { return (consumed, false) }
                state = .established(
                    RecordLayer(reading: outcome.reading, writing: outcome.writing, role: role, accelerator))
                identity = outcome.peer
                summary = outcome.summary
                if let accelerator, accelerator.does(outcome.reading.suite) { summary += ", records by \(accelerator.name)" }
                return (consumed, true)
            } catch {
                state = .failed(error)
                throw error
            }
        }
    }

    var pendingOutput: Int { output.count }

    func drainOutput(into buffer: UnsafeMutableRawBufferPointer) -> Int { output.drain(into: buffer) }

    func maximumCiphertext(for count: Int) -> Int { output.count + RecordWriter.maximumCiphertext(for: count) }

    func encrypt(
        _ plaintext: UnsafeRawBufferPointer, into ciphertext: UnsafeMutableRawBufferPointer
    ) throws(TLSError) -> Int {
        precondition(ciphertext.count >= maximumCiphertext(for: plaintext.count))
        switch state {
        case .handshaking: preconditionFailure("data before the handshake is done")
        case .closed: throw TLSError(.record, "this side has closed the connection; nothing can follow")
        case .failed(let error): throw error
        case .established(let records):
            let drained = output.drain(into: ciphertext)
            guard !plaintext.isEmpty else { return drained }
            let rest = UnsafeMutableRawBufferPointer(rebasing: ciphertext[drained...])
            return drained + records.writer.encrypt(plaintext, into: rest)
        }
    }

    func decrypt(
        _ ciphertext: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer
    ) throws(TLSError) -> TLSDecrypted {
        let records: RecordLayer
        switch state {
        case .handshaking: preconditionFailure("data before the handshake is done")
        case .failed(let error): throw error
        case .established(let established): records = established
        case .closed(let closed): records = closed
        }
        let (result, failure) = records.decrypt(ciphertext, into: plaintext)
        guard let failure else { return result }
        let error = fail(failure, records)
        // What is good goes first; the next call reports the failure.
        guard result.produced > 0 else { throw error }
        return result
    }

    func withKernelKey<Failure: Error>(
        sending: Bool, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer, UInt64) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        guard let records, pendingOutput == 0 else { return false }
        return sending ? try records.writer.withKey(body) : try records.reader.withKey(body)
    }

    func close() {
        guard case .established(let records) = state else { return }
        output.append(records.writer.alert(0))
        state = .closed(records)
    }

    private func fail(_ failure: RecordLayer.Failure, _ records: RecordLayer) -> TLSError {
        let error: TLSError
        switch failure {
        case .alert(let number):
            error = TLSError(.alert, Alert(rawValue: number).description(own: credentials))
        case .fault(let fault):
            // After close_notify nothing may be said.
            if case .established = state { output.append(records.writer.alert(fault.rawValue)) }
            error = TLSError(
                .record, "a record from the peer is not acceptable (\(fault.text)); something on the way changed it, "
                    + "or the peer is at fault")
        }
        state = .failed(error)
        return error
    }
}
