import COpenSSL

enum OpenSSLCryptography: Cryptography {
    static func authenticate(
        _ message: [UInt8], key: UnsafeRawBufferPointer, suite: CipherSuite, into digest: UnsafeMutableRawBufferPointer
    ) {
        let kind = suite == .aes256GCM ? EVP_sha384() : EVP_sha256()
        let done = HMAC(kind, key.baseAddress, Int32(key.count), message, message.count, digest.baseAddress, nil)
        precondition(done != nil, "HMAC cannot fail on memory")
    }

    static func makeAEAD(_ direction: RecordDirection, _ suite: CipherSuite, key: UnsafeRawBufferPointer) -> any AEAD {
        OpenSSLAEAD(direction, suite, key: key)
    }
}

/// - Note: The functions of EVP want several calls a record, but they take what is to be encrypted from several places.
final class OpenSSLAEAD: AEAD {
    private let context: OpaquePointer

    init(_ direction: RecordDirection, _ suite: CipherSuite, key: UnsafeRawBufferPointer) {
        guard let context = EVP_CIPHER_CTX_new() else { fatalError("out of memory") }
        self.context = context
        let cipher =
            switch suite {
            case .aes128GCM: EVP_aes_128_gcm()
            case .aes256GCM: EVP_aes_256_gcm()
            case .chaCha20Poly1305: EVP_chacha20_poly1305()
            }
        let ready = EVP_CipherInit_ex2(context, cipher, key.baseAddress, nil, direction == .encrypt ? 1 : 0, nil) == 1
        precondition(ready, "OpenSSL lacks a cipher it has just negotiated")
    }

    deinit { EVP_CIPHER_CTX_free(context) }

    func seal(
        _ plaintext: UnsafeRawBufferPointer, _ type: UInt8, nonce: UnsafeRawPointer, header: UnsafeRawPointer,
        into body: UnsafeMutableRawPointer
    ) {
        var type = type
        var length: Int32 = 0
        let done =
            EVP_EncryptInit_ex2(context, nil, nil, nonce, nil) == 1
            && EVP_EncryptUpdate(context, nil, &length, header, Int32(RecordCipher.headerLength)) == 1
            && EVP_EncryptUpdate(context, body, &length, plaintext.baseAddress, Int32(plaintext.count)) == 1
            && EVP_EncryptUpdate(context, body + plaintext.count, &length, &type, 1) == 1
            && EVP_EncryptFinal_ex(context, body, &length) == 1
            && EVP_CIPHER_CTX_ctrl(
                context, EVP_CTRL_AEAD_GET_TAG, Int32(CipherSuite.tagLength), body + plaintext.count + 1) == 1
        precondition(done, "encryption cannot fail on memory")
    }

    func open(
        _ body: UnsafeRawBufferPointer, nonce: UnsafeRawPointer, header: UnsafeRawPointer,
        into plaintext: UnsafeMutableRawPointer
    ) -> Bool {
        let start = body.baseAddress!
        let count = body.count - CipherSuite.tagLength
        // OpenSSL takes the tag as mutable and only reads it.
        let tag = UnsafeMutableRawPointer(mutating: start + count)
        var length: Int32 = 0
        return EVP_DecryptInit_ex2(context, nil, nil, nonce, nil) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(CipherSuite.tagLength), tag) == 1
            && EVP_DecryptUpdate(context, nil, &length, header, Int32(RecordCipher.headerLength)) == 1
            && EVP_DecryptUpdate(context, plaintext, &length, start, Int32(count)) == 1
            && EVP_DecryptFinal_ex(context, plaintext, &length) == 1
    }
}
