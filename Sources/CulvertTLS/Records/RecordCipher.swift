import COpenSSL

/// Encrypts or decrypts the records of one direction under one key (RFC 8446, 5.2).
///
/// Invariant: `sequence` is the number of the next record, and no number is used twice.
final class RecordCipher {
    enum Direction: Int32 { case decrypt = 0, encrypt = 1 }

    static let headerLength = 5

    private let context: OpaquePointer
    private let nonce = UnsafeMutableRawBufferPointer.allocate(byteCount: CipherSuite.nonceLength, alignment: 4)
    /// The last 8 bytes of the initialization vector, with which the sequence number makes the nonce.
    private let initialTail: UInt64
    private(set) var sequence: UInt64 = 0

    init(_ direction: Direction, _ secret: TrafficSecret) {
        guard let context = EVP_CIPHER_CTX_new() else { fatalError("out of memory") }
        self.context = context
        secret.expand("iv", into: nonce)
        initialTail = nonce.loadUnaligned(fromByteOffset: 4, as: UInt64.self)
        withUnsafeTemporaryAllocation(byteCount: secret.suite.keyLength, alignment: 16) { key in
            secret.expand("key", into: key)
            let ready = EVP_CipherInit_ex2(context, secret.suite.cipher, key.baseAddress, nil, direction.rawValue, nil) == 1
            precondition(ready, "OpenSSL lacks a cipher it has just negotiated")
            OPENSSL_cleanse(key.baseAddress, key.count)
        }
    }

    deinit {
        EVP_CIPHER_CTX_free(context)
        OPENSSL_cleanse(nonce.baseAddress, nonce.count)
        nonce.deallocate()
    }

    /// Makes one record of `plaintext`, which is not empty and fits one; returns its length.
    func seal(_ type: ContentType, _ plaintext: UnsafeRawBufferPointer, into record: UnsafeMutableRawPointer) -> Int {
        let bodyLength = plaintext.count + 1 + CipherSuite.tagLength
        RecordHeader(length: bodyLength).write(to: record)
        let body = record + Self.headerLength
        var type = type.rawValue
        var length: Int32 = 0
        advanceNonce()
        let done =
            EVP_EncryptInit_ex2(context, nil, nil, nonce.baseAddress, nil) == 1
            && EVP_EncryptUpdate(context, nil, &length, record, Int32(Self.headerLength)) == 1
            && EVP_EncryptUpdate(context, body, &length, plaintext.baseAddress, Int32(plaintext.count)) == 1
            && EVP_EncryptUpdate(context, body + plaintext.count, &length, &type, 1) == 1
            && EVP_EncryptFinal_ex(context, body, &length) == 1
            && EVP_CIPHER_CTX_ctrl(
                context, EVP_CTRL_AEAD_GET_TAG, Int32(CipherSuite.tagLength), body + plaintext.count + 1) == 1
        precondition(done, "encryption cannot fail on memory")
        return Self.headerLength + bodyLength
    }

    /// Decrypts a whole record of at least a tag's length into `plaintext`, which takes the record without header and tag.
    /// - Returns: false if it is not what the peer sent next; what `plaintext` then holds means nothing.
    func open(_ record: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawPointer) -> Bool {
        let start = record.baseAddress!
        let count = record.count - Self.headerLength - CipherSuite.tagLength
        // OpenSSL takes the tag as mutable and only reads it.
        let tag = UnsafeMutableRawPointer(mutating: start + Self.headerLength + count)
        var length: Int32 = 0
        advanceNonce()
        return EVP_DecryptInit_ex2(context, nil, nil, nonce.baseAddress, nil) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(CipherSuite.tagLength), tag) == 1
            && EVP_DecryptUpdate(context, nil, &length, start, Int32(Self.headerLength)) == 1
            && EVP_DecryptUpdate(context, plaintext, &length, start + Self.headerLength, Int32(count)) == 1
            && EVP_DecryptFinal_ex(context, plaintext, &length) == 1
    }

    /// The nonce is the initialization vector with the sequence number, big-endian, in its last bytes (RFC 8446, 5.3).
    private func advanceNonce() {
        nonce.storeBytes(of: initialTail ^ sequence.bigEndian, toByteOffset: 4, as: UInt64.self)
        sequence += 1
    }
}
