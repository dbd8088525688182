import COpenSSL
import Testing

@testable import CulvertTLS

/// What `withKernelKey` gives away, tried with a cipher that shares no code with the engines' records.
@Suite struct KernelKeyTests {
    private static let directions = [true, false]

    @Test(arguments: Pairing.allRecords) func whatItGivesIsForTheNextRecord(pairing: Pairing) throws {
        try expectKeys(of: .connected(pairing), length: 32)
    }

    @Test(arguments: Pairing.allRecords) func aPreSharedKeyMakesShorterOnes(pairing: Pairing) throws {
        let scratch = try TestPKI()
        func keys(_ user: String, _ peer: String, _ backend: TLSBackend, _ records: TLSRecords) throws -> TLSContext {
            let file = try scratch.write(Array("\(peer):\(String(repeating: "5c", count: 32))\n".utf8), "\(user).psk")
            return try TLSContext(TLSSettings(.keys(file: file, user: user), backend: backend, records: records))
        }
        let pair = try EnginePair(
            client: keys("hosta", "hostb", pairing.client, pairing.clientRecords),
            server: keys("hostb", "hosta", pairing.server, pairing.serverRecords))
        try pair.handshake()
        try expectKeys(of: pair, length: 16)
    }

    /// Right behind the handshake, after some records, and after the key was renewed.
    private func expectKeys(of pair: EnginePair, length: Int) throws {
        for (sender, receiver) in [(pair.client, pair.server), (pair.server, pair.client)] {
            let writer = try #require((sender as? Engine)?.records).writer
            for records in [0, 1, 5] {
                let plaintext = [UInt8](repeating: 7, count: records * RecordLimits.plaintext)
                var wire = try sender.seal(plaintext)
                #expect(try receiver.open(&wire).bytes == plaintext)

                let sending = try #require(try KernelKey(of: sender, sending: true))
                #expect(sending.key.count == length && sending.nonce.count == 12)
                #expect(try KernelKey(of: receiver, sending: false) == sending)

                // The next record of the sender's own making is under just these.
                var record = try sender.seal(Array("next".utf8))
                #expect(sending.open(record) == Array("next".utf8) + [ContentType.applicationData.rawValue])
                #expect(try receiver.open(&record).bytes == Array("next".utf8))
            }
            let last = try #require(try KernelKey(of: sender, sending: true))
            #expect(last.sequence == 9)
            writer.owesKeyUpdate = true
            var wire = try sender.seal([1])
            #expect(try receiver.open(&wire).bytes == [1])
            let renewed = try #require(try KernelKey(of: sender, sending: true))
            #expect(renewed.sequence == 1 && renewed.key != last.key && renewed.nonce != last.nonce)
            #expect(try KernelKey(of: receiver, sending: false) == renewed)
        }
    }

    @Test(arguments: TLSBackend.allCases) func chaCha20IsNotForTheKernel(backend: TLSBackend) throws {
        let pki = try TestPKI()
        for role in [TLSRole.client, .server] {
            let peer = try RawPeer(role, files: pki.issue("raw")) { context in
                role == .client ? RawPeer.offer("culvert/1")(context) : RawPeer.agree(context)
                SSL_CTX_set_ciphersuites(context, "TLS_CHACHA20_POLY1305_SHA256")
            }
            let engine = try pki.context("hosta", backend).makeEngine(role == .client ? .server : .client)
            #expect(peer.meet(engine) == nil && peer.isConnected)
            #expect(engine.summary.contains("CHACHA20"))
            for sending in Self.directions { #expect(try KernelKey(of: engine, sending: sending) == nil) }
        }
    }

    @Test(arguments: TLSBackend.allCases) func thereIsNoneBeforeTheHandshakeIsDone(backend: TLSBackend) throws {
        let pki = try TestPKI()
        let pair = try EnginePair(client: pki.context("hosta", backend), server: pki.context("hostb", backend))
        func expectNone() throws {
            for engine in [pair.client, pair.server] {
                for sending in Self.directions { #expect(try KernelKey(of: engine, sending: sending) == nil) }
            }
        }
        try expectNone()
        _ = try pair.client.handshake(taking: &pair.toClient)
        pair.toServer += pair.client.output()
        _ = try pair.server.handshake(taking: &pair.toServer)
        try expectNone()
    }

    /// A record of the engine's own that has not gone out would come behind those of the kernel.
    @Test func thereIsNoneWhileSomethingWaitsToBeSent() throws {
        let pair = try EnginePair.connected()
        pair.client.close()
        #expect(try KernelKey(of: pair.client, sending: true) == nil)
    }
}

/// A copy of what `withKernelKey` gives.
private struct KernelKey: Equatable {
    var key: [UInt8] = []
    var nonce: [UInt8] = []
    var sequence: UInt64 = 0

    /// Nil if there is none.
    init?(of engine: any TLSEngine, sending: Bool) throws {
        var copy: (key: [UInt8], nonce: [UInt8], sequence: UInt64)?
        let isGiven = engine.withKernelKey(sending: sending) { key, nonce, sequence in
            copy = (Array(key), Array(nonce), sequence)
        }
        #expect(isGiven == (copy != nil))
        guard let copy else { return nil }
        (key, nonce, sequence) = copy
    }

    /// Decrypts a record as a kernel would (RFC 8446, 5.2 and 5.3); nil if it is not under this key and number.
    func open(_ record: [UInt8]) -> [UInt8]? {
        let header = Array(record[..<5]), body = Array(record[5..<(record.count - 16)])
        var tag = Array(record.suffix(16)), plaintext = [UInt8](repeating: 0, count: body.count), length: Int32 = 0
        var nonce = nonce
        for place in 0 ..< 8 { nonce[11 - place] ^= UInt8(truncatingIfNeeded: sequence >> (8 * UInt64(place))) }
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        EVP_DecryptInit_ex2(context, key.count == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(), key, nonce, nil)
        EVP_DecryptUpdate(context, nil, &length, header, 5)
        EVP_DecryptUpdate(context, &plaintext, &length, body, Int32(body.count))
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, &tag)
        var rest = [UInt8](repeating: 0, count: 16)
        return EVP_DecryptFinal_ex(context, &rest, &length) == 1 ? plaintext : nil
    }
}
