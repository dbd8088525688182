import COpenSSL
import Testing

@testable import CulvertTLS

/// Keys and records against the example of RFC 8448, section 3 (TLS_AES_128_GCM_SHA256).
@Suite struct RecordVectorTests {
    private static let clientSecret = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
    private static let serverSecret = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"

    @Test(arguments: TLSBackend.allCases) func keysComeFromTrafficSecrets(backend: TLSBackend) {
        let client = secret(Self.clientSecret, backend), server = secret(Self.serverSecret, backend)
        #expect(client.expanded("key", 16) == bytes("17422dda596ed5d9acd890e3c63f5051"))
        #expect(client.expanded("iv", 12) == bytes("5b78923dee08579033e523d9"))
        #expect(server.expanded("key", 16) == bytes("9f02283b6c9c07efc26bb9f2ac92e356"))
        #expect(server.expanded("iv", 12) == bytes("cf782b88dd83549aadf1e984"))
    }

    @Test(arguments: Ciphers.present) func theFirstRecordOfTheClientIsAsPublished(ciphers: Ciphers) {
        let client = secret(Self.clientSecret, ciphers.backend)
        let published = bytes("""
            1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a62\
            92a2977014bd1e3deae63aeebb21694915e4
            """)
        let data = Array(UInt8(0) ..< 50)
        var record = [UInt8](repeating: 0, count: published.count)
        let length = data.withUnsafeBytes { data in
            record.withUnsafeMutableBytes {
                RecordCipher(.encrypt, client, ciphers.accelerator).seal(.applicationData, data, into: $0.baseAddress!)
            }
        }
        #expect(length == published.count)
        #expect(record == published)

        var opened = [UInt8](repeating: 0, count: 51)
        let accepted = published.withUnsafeBytes { published in
            opened.withUnsafeMutableBytes { RecordCipher(.decrypt, client, ciphers.accelerator).open(published, into: $0.baseAddress!) }
        }
        #expect(accepted)
        #expect(opened == data + [ContentType.applicationData.rawValue])
    }
}

/// One record after the other from a peer that may write whatever it likes.
@Suite struct RecordLayerTests {
    private let layer: RecordLayer
    private let peer: FreePeer

    init() {
        let (peerSecret, ownSecret) = (freshSecret(1), freshSecret(2))
        peer = FreePeer(peerSecret)
        layer = RecordLayer(reading: peerSecret, writing: ownSecret, role: .client)
    }

    /// Feeds `wire` once; all of it fits.
    private func feed(_ wire: [UInt8], to layer: RecordLayer? = nil) -> (data: [UInt8], ended: Bool, failure: RecordLayer.Failure?) {
        var plaintext = [UInt8](repeating: 0, count: wire.count)
        let (result, failure) = wire.withUnsafeBytes { wire in
            plaintext.withUnsafeMutableBytes { (layer ?? self.layer).decrypt(wire, into: $0) }
        }
        return (Array(plaintext[..<result.produced]), result.ended, failure)
    }

    private func expectFault(_ fault: RecordFault, _ wire: [UInt8], at location: SourceLocation = #_sourceLocation) {
        let (data, ended, failure) = feed(wire)
        #expect(data.isEmpty && !ended && failure == .fault(fault), sourceLocation: location)
    }

    private static let data: UInt8 = 23, handshake: UInt8 = 22, alert: UInt8 = 21

    @Test func paddingIsRemoved() {
        for padding in [0, 1, 15, 300] {
            let data: [UInt8] = [1, 2, 0, 0]
            #expect(feed(peer.record(data, Self.data, padding: padding)).data == data)
        }
    }

    @Test func emptyRecordsAreBorneForAWhile() {
        let empty = (0 ..< 32).flatMap { _ in peer.record([], Self.data) }
        #expect(feed(empty + peer.record([7], Self.data)).data == [7])
        let more = (0 ..< 33).flatMap { _ in peer.record([], Self.data) }
        expectFault(.unexpectedMessage, more)
    }

    @Test func theLargestRecordIsTakenAndALargerIsNot() {
        let largest = [UInt8](repeating: 9, count: 16_384)
        #expect(feed(peer.record(largest, Self.data)).data == largest)
        #expect(feed(peer.record(largest, Self.data, padding: 239)).data == largest)
        expectFault(.recordOverflow, peer.record(largest + [9], Self.data))
    }

    @Test func aLengthThatCannotBeIsRefusedAtOnce() {
        expectFault(.recordOverflow, [23, 3, 3, 0x41, 0x01])
        expectFault(.badRecordMAC, [23, 3, 3, 0, 16])
    }

    @Test func aRecordOfNothingButPaddingIsRefused() { expectFault(.unexpectedMessage, peer.record([], 0, padding: 20)) }

    @Test(arguments: [1, 20, 24, 255] as [UInt8])
    func anUnknownTypeIsRefused(type: UInt8) { expectFault(.unexpectedMessage, peer.record([1], type)) }

    @Test func alertsAreHeard() {
        #expect(feed(peer.record([1, 90], Self.alert)).failure == nil)
        #expect(feed(peer.record([2, 40], Self.alert)).failure == .alert(40))
    }

    @Test(arguments: [[], [2], [2, 40, 1]] as [[UInt8]])
    func anAlertOfAnotherLengthIsRefused(alert: [UInt8]) { expectFault(.decodeError, peer.record(alert, Self.alert)) }

    @Test func closeNotifyEndsAllWhatFollows() {
        let wire = peer.record([1], Self.data) + peer.record([1, 0], Self.alert) + peer.record([2], Self.data)
        #expect(feed(wire) == ([1], true, nil))
        #expect(feed(peer.record([3], Self.data)) == ([], true, nil))
    }

    /// Data before a failure is good data.
    @Test func whatCameBeforeAFailureIsDelivered() {
        let (data, ended, failure) = feed(peer.record([1, 2], Self.data) + peer.record([2, 80], Self.alert))
        #expect(data == [1, 2] && !ended && failure == .alert(80))
    }

    @Test func aKeyUpdateMayBeSplit() {
        let message: [UInt8] = [24, 0, 0, 1, 1]
        #expect(feed(message.flatMap { peer.record([$0], Self.handshake) }).failure == nil)
        #expect(layer.writer.owesKeyUpdate)
        peer.renewKey()
        #expect(feed(peer.record([5], Self.data)).data == [5])
    }

    @Test func theOldKeyIsWorthlessAfterAKeyUpdate() {
        _ = feed(peer.record([24, 0, 0, 1, 0], Self.handshake))
        #expect(!layer.writer.owesKeyUpdate)
        expectFault(.badRecordMAC, peer.record([5], Self.data))
    }

    @Test func ticketsAreSkippedHoweverTheyAreCut() {
        let ticket: [UInt8] = [4, 0, 0x40, 0] + [UInt8](repeating: 24, count: 0x4000)
        let messages = ticket + [4, 0, 0, 1, 9] + [24, 0, 0, 1, 0]
        for cut in [1, 3, 4, 5, 1000, 16_384] {
            let wire = peer.record(Array(messages[..<cut]), Self.handshake)
                + peer.record(Array(messages[cut...].prefix(16_384)), Self.handshake)
                + (messages.count - cut > 16_384 ? peer.record(Array(messages[(cut + 16_384)...]), Self.handshake) : [])
            #expect(feed(wire).failure == nil)
            peer.renewKey()
            #expect(feed(peer.record([UInt8(cut % 100)], Self.data)).data == [UInt8(cut % 100)])
        }
    }

    @Test(arguments: [
        // A key update with something behind it, of the wrong length, of an unknown kind.
        (RecordFault.unexpectedMessage, [24, 0, 0, 1, 0, 24]), (.decodeError, [24, 0, 0, 2, 0, 0]),
        (.illegalParameter, [24, 0, 0, 1, 2]),
        // An empty ticket, a request for a certificate, a new hello, nothing at all.
        (.decodeError, [4, 0, 0, 0]), (.unexpectedMessage, [13, 0, 0, 1, 0]), (.unexpectedMessage, [1, 0, 0, 1, 0]),
        (.unexpectedMessage, []),
    ] as [(RecordFault, [UInt8])])
    func otherHandshakeMessagesAreRefused(fault: RecordFault, message: [UInt8]) {
        expectFault(fault, peer.record(message, Self.handshake))
    }

    @Test func aServerTakesNoTickets() {
        let secret = freshSecret(3)
        let server = RecordLayer(reading: secret, writing: freshSecret(4), role: .server)
        let wire = FreePeer(secret).record([4, 0, 0, 1, 9], Self.handshake)
        #expect(feed(wire, to: server).failure == .fault(.unexpectedMessage))
    }

    @Test(arguments: [21, 23] as [UInt8])
    func nothingMayInterruptAMessage(type: UInt8) {
        expectFault(.unexpectedMessage, peer.record([24, 0, 0], Self.handshake) + peer.record([1, 0], type))
    }
}

/// Makes records without the code under test, and any that the peer's conscience allows.
private final class FreePeer {
    private var secret: TrafficSecret
    private var sequence: UInt8 = 0

    init(_ secret: TrafficSecret) { self.secret = secret }

    func renewKey() {
        secret = secret.next()
        sequence = 0
    }

    func record(_ content: [UInt8], _ type: UInt8, padding: Int = 0) -> [UInt8] {
        let inner = content + [type] + [UInt8](repeating: 0, count: padding)
        let header = [23, 3, 3, UInt8((inner.count + 16) >> 8), UInt8((inner.count + 16) & 255)]
        var nonce = secret.expanded("iv", 12)
        nonce[11] ^= sequence
        sequence += 1
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var body = [UInt8](repeating: 0, count: inner.count), tag = [UInt8](repeating: 0, count: 16), length: Int32 = 0
        EVP_EncryptInit_ex2(context, EVP_aes_128_gcm(), secret.expanded("key", 16), nonce, nil)
        EVP_EncryptUpdate(context, nil, &length, header, 5)
        EVP_EncryptUpdate(context, &body, &length, inner, Int32(inner.count))
        EVP_EncryptFinal_ex(context, &tag, &length)
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, &tag)
        return header + body + tag
    }
}

extension TrafficSecret {
    fileprivate func expanded(_ label: String, _ count: Int) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        result.withUnsafeMutableBytes { expand(label, into: $0) }
        return result
    }
}

/// Everything that a record's cipher can come from on this host.
struct Ciphers: Sendable, CustomTestStringConvertible {
    var backend: TLSBackend
    var accelerator: IPSecMB?

    static let present = TLSBackend.allCases.map { Ciphers(backend: $0) }
        + [IPSecMB.shared].compactMap { (try? $0.get()).map { Ciphers(backend: .openssl, accelerator: $0) } }

    var testDescription: String { accelerator?.name ?? "\(backend)" }
}

extension TLSBackend {
    fileprivate var cryptography: any Cryptography.Type { self == .openssl ? OpenSSLCryptography.self : GnuTLSCryptography.self }
}

private func secret(_ hexadecimal: String, _ backend: TLSBackend) -> TrafficSecret {
    TrafficSecret(.aes128GCM, backend.cryptography) { $0.copyBytes(from: bytes(hexadecimal)) }
}

private func freshSecret(_ seed: UInt64) -> TrafficSecret {
    var random = SeededGenerator(seed)
    return TrafficSecret(.aes128GCM, OpenSSLCryptography.self) { $0.copyBytes(from: random.bytes(32)) }
}

private func bytes(_ hexadecimal: String) -> [UInt8] {
    stride(from: 0, to: hexadecimal.count, by: 2).map { offset in
        let start = hexadecimal.index(hexadecimal.startIndex, offsetBy: offset)
        return UInt8(hexadecimal[start...].prefix(2), radix: 16)!
    }
}

/// The libraries' ciphers against each other.
@Suite struct CryptographyTests {
    /// Lengths around the blocks of the ciphers and the largest record.
    private static let lengths = [1, 15, 16, 17, 63, 64, 65, 255, 1000, 4095, 16_383, 16_384]

    @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM, .chaCha20Poly1305], lengths)
    func allSealAlikeAndOpenEachOther(suite: CipherSuite, length: Int) {
        var random = SeededGenerator(UInt64(length))
        let bytes = random.bytes(suite.digestLength), data = random.bytes(length)
        let records = Ciphers.present.map { ciphers in
            let secret = TrafficSecret(suite, ciphers.backend.cryptography) { $0.copyBytes(from: bytes) }
            let cipher = RecordCipher(.encrypt, secret, ciphers.accelerator)
            return (0 ..< 3).map { _ in
                var record = [UInt8](repeating: 0, count: length + RecordLimits.overhead)
                _ = data.withUnsafeBytes { data in
                    record.withUnsafeMutableBytes { cipher.seal(.applicationData, data, into: $0.baseAddress!) }
                }
                return record
            }
        }
        #expect(records.allSatisfy { $0 == records[0] })
        #expect(Set(records[0]).count == 3)
        for ciphers in Ciphers.present {
            let secret = TrafficSecret(suite, ciphers.backend.cryptography) { $0.copyBytes(from: bytes) }
            let cipher = RecordCipher(.decrypt, secret, ciphers.accelerator)
            for var record in records[0] + [records[0][0]] {
                let isRepeat = cipher.sequence == 3
                var opened = [UInt8](repeating: 0, count: length + 1)
                let accepted = record.withUnsafeMutableBytes { record in
                    opened.withUnsafeMutableBytes { cipher.open(UnsafeRawBufferPointer(record), into: $0.baseAddress!) }
                }
                #expect(accepted == !isRepeat)
                if accepted { #expect(opened == data + [23]) }
            }
        }
    }

    @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM]) func bothRenewAlike(suite: CipherSuite) {
        let renewed = TLSBackend.allCases.map { backend in
            TrafficSecret(suite, backend.cryptography) { $0.copyBytes(from: [UInt8](repeating: 9, count: $0.count)) }
                .next().next().expanded("key", suite.keyLength)
        }
        #expect(renewed[0] == renewed[1])
    }
}
