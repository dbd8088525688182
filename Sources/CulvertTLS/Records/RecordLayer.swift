/// An established connection: both directions, and what each tells the other.
///
/// Records go straight from the caller's plaintext to the caller's ciphertext and back. The libraries' own record layers
/// would copy each byte more often; with OpenSSL's that costs a sixth of the throughput.
final class RecordLayer {
    let reader: RecordReader
    let writer: RecordWriter
    /// Decrypted data that the caller had no room for.
    private var held = ByteQueue()
    /// For a record that the caller has no room for.
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: RecordLimits.body, alignment: 64)
    /// The peer has said close_notify.
    private var ended = false

    /// - Parameter accelerator: does what it can in place of the library of the secrets.
    init(reading: TrafficSecret, writing: TrafficSecret, role: TLSRole, _ accelerator: IPSecMB? = nil) {
        reader = RecordReader(reading, role: role, accelerator)
        writer = RecordWriter(writing, accelerator)
    }

    deinit { scratch.deallocate() }

    enum Failure: Error, Equatable {
        /// The peer broke the protocol, or somebody on the way did.
        case fault(RecordFault)
        /// The peer gave up with this alert.
        case alert(UInt8)
    }

    /// Decrypts whole records while there is room. A failure leaves what came before it in the result.
    func decrypt(
        _ ciphertext: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer
    ) -> (result: TLSDecrypted, failure: Failure?) {
        var result = TLSDecrypted(consumed: 0, produced: held.drain(into: plaintext), ended: ended)
        do throws(Failure) {
            while !ended, try decryptRecord(ciphertext, plaintext, &result) {}
        } catch {
            return (result, error)
        }
        result.ended = ended
        return (result, nil)
    }

    /// - Returns: false if `ciphertext` holds no further record or `plaintext` has no room for one.
    private func decryptRecord(
        _ ciphertext: UnsafeRawBufferPointer, _ plaintext: UnsafeMutableRawBufferPointer, _ result: inout TLSDecrypted
    ) throws(Failure) -> Bool {
        let rest = UnsafeRawBufferPointer(rebasing: ciphertext[result.consumed...])
        let space = UnsafeMutableRawBufferPointer(rebasing: plaintext[result.produced...])
        let outcome: RecordReader.Outcome
        let length: Int, fits: Bool
        do throws(RecordFault) {
            guard let complete = try RecordReader.recordLength(rest) else { return false }
            length = complete
            fits = RecordReader.room(for: length) <= space.count
            // Only a caller with next to no room at all is served in pieces.
            guard fits || result.produced == 0 && !space.isEmpty else { return false }
            let record = UnsafeRawBufferPointer(rebasing: rest[..<length])
            outcome = try reader.read(record, into: fits ? space : scratch)
        } catch {
            throw .fault(error)
        }
        switch outcome {
        case .data(let count) where fits:
            result.produced += count
        case .data(let count):
            held.append(UnsafeRawBufferPointer(rebasing: scratch[..<count]))
            result.produced = held.drain(into: space)
        case .keyUpdate(let answer):
            if answer { writer.owesKeyUpdate = true }
        case .alert(Alert.closeNotify.rawValue):
            ended = true
        case .alert(let number) where number != Alert.userCanceled.rawValue:
            throw .alert(number)
        case .alert, .nothing:
            break
        }
        result.consumed += length
        return true
    }
}
