/// Encrypts or decrypts the records of one direction under one key (RFC 8446, 5.2).
///
/// Invariant: `sequence` is the number of the next record, and no number is used twice.
final class RecordCipher {
    static let headerLength = 5

    private let aead: any AEAD
    private let nonce = UnsafeMutableRawBufferPointer.allocate(byteCount: CipherSuite.nonceLength, alignment: 4)
    /// The last 8 bytes of the initialization vector, with which the sequence number makes the nonce.
    private let initialTail: UInt64
    private(set) var sequence: UInt64 = 0

    init(_ direction: RecordDirection, _ secret: TrafficSecret, _ accelerator: IPSecMB? = nil) {
        secret.expand("iv", into: nonce)
        initialTail = nonce.loadUnaligned(fromByteOffset: 4, as: UInt64.self)
        aead = withUnsafeTemporaryAllocation(byteCount: secret.suite.keyLength, alignment: 16) { key in
            defer { wipe(key) }
            secret.expand("key", into: key)
            let key = UnsafeRawBufferPointer(key)
            return accelerator?.makeAEAD(secret.suite, key: key)
                ?? secret.library.makeAEAD(direction, secret.suite, key: key)
        }
    }

    deinit {
        wipe(nonce)
        nonce.deallocate()
    }

    /// Makes one record of `plaintext`, which is not empty and fits one; returns its length.
    func seal(_ type: ContentType, _ plaintext: UnsafeRawBufferPointer, into record: UnsafeMutableRawPointer) -> Int {
        let bodyLength = plaintext.count + 1 + CipherSuite.tagLength
        RecordHeader(length: bodyLength).write(to: record)
        advanceNonce()
        aead.seal(
            plaintext, type.rawValue, nonce: nonce.baseAddress!, header: record, into: record + Self.headerLength)
        return Self.headerLength + bodyLength
    }

    /// Decrypts a whole record of at least a tag's length into `plaintext`, which takes the record without header and tag.
    /// - Returns: false if it is not what the peer sent next; what `plaintext` then holds means nothing.
    func open(_ record: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawPointer) -> Bool {
        advanceNonce()
        return aead.open(
            UnsafeRawBufferPointer(rebasing: record[Self.headerLength...]), nonce: nonce.baseAddress!,
            header: record.baseAddress!, into: plaintext)
    }

    /// The nonce is the initialization vector with the sequence number, big-endian, in its last bytes (RFC 8446, 5.3).
    private func advanceNonce() {
        nonce.storeBytes(of: initialTail ^ sequence.bigEndian, toByteOffset: 4, as: UInt64.self)
        sequence += 1
    }
}
