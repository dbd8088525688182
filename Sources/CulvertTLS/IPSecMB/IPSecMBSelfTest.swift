/// What libipsec-mb must get right before a record is trusted to it.
extension IPSecMB {
    func passesSelfTest() -> Bool {
        PublishedSeal.all.allSatisfy(reproduces) && [CipherSuite.aes128GCM, .aes256GCM].allSatisfy(agreesWithOpenSSL)
    }

    private func reproduces(_ example: PublishedSeal) -> Bool {
        let aead = example.key.withUnsafeBytes { IPSecMBAEAD(library, key: $0, headerLength: example.header.count) }
        var body = sealed(by: aead, example.plaintext, example.nonce, example.header)
        guard body == example.body, opened(by: aead, body, example.nonce, example.header) == example.plaintext else {
            return false
        }
        body[body.count - 1] ^= 1
        return opened(by: aead, body, example.nonce, example.header) == nil
    }

    /// The published examples end before the code for long texts begins.
    private func agreesWithOpenSSL(_ suite: CipherSuite) -> Bool {
        let key = [UInt8](repeating: 0xA5, count: suite.keyLength)
        let nonce = [UInt8](0 ..< 12), header: [UInt8] = [23, 3, 3, 0x40, 0x11]
        let (own, other) = key.withUnsafeBytes { (IPSecMBAEAD(library, key: $0), OpenSSLAEAD(.encrypt, suite, key: $0)) }
        return [1, 255, 4097, RecordLimits.plaintext + 1].allSatisfy { length in
            let plaintext = (0 ..< length).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
            let body = sealed(by: other, plaintext, nonce, header)
            return sealed(by: own, plaintext, nonce, header) == body && opened(by: own, body, nonce, header) == plaintext
        }
    }
}

/// Examples from McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, which NIST's SP 800-38D refers to.
private struct PublishedSeal {
    let key, nonce, header, plaintext, body: [UInt8]

    static let all = [
        // Test case 4.
        PublishedSeal(
            key: "feffe9928665731c6d6a8f9467308308",
            ciphertext: """
                42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b39\
                6a0aac973d58e091
                """,
            tag: "5bc94fbc3221a5db94fae95ae7121a47"),
        // Test case 16.
        PublishedSeal(
            key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            ciphertext: """
                522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e63\
                93ba7a0abcc9f662
                """,
            tag: "76fc6ece0f4e1768cddf8853bb2d551b"),
    ]

    private init(key: String, ciphertext: String, tag: String) {
        self.key = bytes(key)
        nonce = bytes("cafebabefacedbaddecaf888")
        header = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2")
        plaintext = bytes(
            """
            d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6\
            57ba637b39
            """)
        body = bytes(ciphertext + tag)
    }
}

private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.utf8.map { UInt8($0 < UInt8(ascii: "a") ? $0 - UInt8(ascii: "0") : $0 - UInt8(ascii: "a") + 10) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// - Parameter plaintext: its last byte goes where a record's type does.
private func sealed(by aead: some AEAD, _ plaintext: [UInt8], _ nonce: [UInt8], _ header: [UInt8]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: plaintext.count + CipherSuite.tagLength) { body, count in
        plaintext.dropLast().withUnsafeBytes {
            aead.seal($0, plaintext.last!, nonce: nonce, header: header, into: body.baseAddress!)
        }
        count = plaintext.count + CipherSuite.tagLength
    }
}

private func opened(by aead: some AEAD, _ body: [UInt8], _ nonce: [UInt8], _ header: [UInt8]) -> [UInt8]? {
    var accepted = false
    let length = body.count - CipherSuite.tagLength
    let plaintext = [UInt8](unsafeUninitializedCapacity: length) { plaintext, count in
        accepted = body.withUnsafeBytes { aead.open($0, nonce: nonce, header: header, into: plaintext.baseAddress!) }
        count = length
    }
    return accepted ? plaintext : nil
}
