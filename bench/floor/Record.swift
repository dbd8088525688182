import COpenSSL

/// A record shaped like TLS 1.3's (RFC 8446, section 5.2): a header of 5 bytes, which is authenticated, at most 16 KiB of
/// ciphertext, and a tag of 16.
enum Record {
    static let header = 5
    static let plaintext = 16 << 10
    static let tag = 16
    static let sealed = header + plaintext + tag

    /// The plaintext bytes of the record that `bytes` begins with; nil while it is not complete.
    static func size(_ bytes: Slice<UnsafeMutableRawBufferPointer>) -> Int? {
        guard bytes.count >= header else { return nil }
        let payload = Int(bytes[bytes.startIndex + 3]) << 8 | Int(bytes[bytes.startIndex + 4])
        precondition(payload >= tag && payload <= plaintext + tag, "no record starts here")
        return bytes.count >= header + payload ? payload - tag : nil
    }

    /// AES-256-GCM with a nonce that counts records, under a key that everybody knows.
    final class Cipher {
        private let context = EVP_CIPHER_CTX_new()!
        private var nonce = [UInt8](repeating: 0, count: 12)

        init(sealing: Bool) {
            let key = [UInt8](repeating: 0x2a, count: 32)
            let done = EVP_CipherInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce, sealing ? 1 : 0)
            precondition(done == 1, "OpenSSL has no AES-256-GCM")
        }

        deinit { EVP_CIPHER_CTX_free(context) }

        /// Writes header, ciphertext and tag of `count` bytes of `plaintext`.
        func seal(_ plaintext: UnsafeRawPointer, _ count: Int, to record: UnsafeMutableRawPointer) {
            let payload = count + Record.tag
            record.storeBytes(of: 0x17, as: UInt8.self)
            record.storeBytes(of: 0x0303, toByteOffset: 1, as: UInt16.self)
            record.storeBytes(of: UInt16(payload).bigEndian, toByteOffset: 3, as: UInt16.self)
            let output = record + Record.header
            start(header: record)
            update(output, plaintext, count)
            var written: CInt = 0
            EVP_CipherFinal_ex(context, (output + count).assumingMemoryBound(to: UInt8.self), &written)
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CInt(Record.tag), output + count)
        }

        /// Writes the plaintext, `count` bytes, of `record`; false if the tag is wrong.
        func open(_ record: UnsafeMutableRawPointer, _ count: Int, to plaintext: UnsafeMutableRawPointer) -> Bool {
            let input = record + Record.header
            start(header: record)
            update(plaintext, input, count)
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CInt(Record.tag), input + count)
            var written: CInt = 0
            return EVP_CipherFinal_ex(
                context, (plaintext + count).assumingMemoryBound(to: UInt8.self), &written) == 1
        }

        /// Begins the next record: its nonce, and its header as what is only authenticated.
        private func start(header: UnsafeRawPointer) {
            for index in nonce.indices.reversed() {
                nonce[index] &+= 1
                if nonce[index] != 0 { break }
            }
            EVP_CipherInit_ex(context, nil, nil, nil, nonce, -1)
            update(nil, header, Record.header)
        }

        private func update(_ output: UnsafeMutableRawPointer?, _ input: UnsafeRawPointer, _ count: Int) {
            var written: CInt = 0
            let done = EVP_CipherUpdate(
                context, output?.assumingMemoryBound(to: UInt8.self), &written,
                input.assumingMemoryBound(to: UInt8.self), CInt(count))
            precondition(done == 1 && written == CInt(count), "OpenSSL's cipher failed")
        }
    }
}
