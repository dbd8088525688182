import CIPSecMB
import Testing

@testable import CulvertTLS

/// What comes of it where libipsec-mb cannot be used.
@Suite struct IPSecMBLoadingTests {
    private func expectUnavailable(
        _ load: @autoclosure () throws -> IPSecMB, _ parts: [String], at location: SourceLocation = #_sourceLocation
    ) {
        let error = #expect(throws: IPSecMB.Unavailable.self, sourceLocation: location) { try load() }
        for part in parts { #expect(error?.reason.contains(part) == true, "\(error?.reason ?? "")", sourceLocation: location) }
    }

    @Test func aMissingLibraryIsNamed() {
        expectUnavailable(try IPSecMB(name: "libIPSec_MB.so.99"), ["libIPSec_MB.so.99", "No such file"])
    }

    @Test func aLibraryOfAnotherKindIsRefused() {
        expectUnavailable(try IPSecMB(name: "libc.so.6"), ["lacks functions"])
    }

    @Test func ciphersThatAreNotValidatedGiveWay() {
        expectUnavailable(try IPSecMB(validatedOnly: true), ["FIPS 140"])
    }

    @Test(.ipsecMB, arguments: [0x10200, 0x10400, 0x20300] as [UInt32])
    func anotherVersionIsRefused(version: UInt32) {
        let wanted = "built for \(version >> 16).\(version >> 8 & 255)"
        expectUnavailable(try IPSecMB(version: version), ["it is version 1.", wanted])
    }

    @Test(.ipsecMB) func anotherPatchLevelIsTaken() throws {
        #expect(try IPSecMB(version: cipsecmb_version ^ 0xFF).name.hasPrefix("ipsec-mb "))
    }

    @Test(.ipsecMB) func aCPUWithoutTheFastCodeIsRefused() {
        expectUnavailable(try IPSecMB(features: cipsecmb_features | 1 << 63), ["this CPU lacks", "VAES"])
    }

    @Test func contextsSayWhatKeepsThemFromIt() throws {
        let pki = try TestPKI()
        #expect(try pki.context("hosta", .openssl, .library).obstacleToFasterRecords == nil)
        let obstacle = try pki.context("hosta", .openssl, .auto).obstacleToFasterRecords
        switch IPSecMB.shared {
        case .success: #expect(obstacle == nil)
        case .failure(let fault): #expect(obstacle == "ipsec-mb is not used: \(fault.reason)")
        }
    }
}

/// Its ciphers against those of OpenSSL and GnuTLS.
@Suite(.ipsecMB) struct IPSecMBCipherTests {
    /// The three for one key.
    private struct Trio {
        let own: any AEAD
        let others: [(seal: any AEAD, open: any AEAD)]

        init(_ suite: CipherSuite, _ random: inout SeededGenerator) throws {
            let key = random.bytes(suite.keyLength), library = try IPSecMB.shared.get()
            own = try #require(key.withUnsafeBytes { library.makeAEAD(suite, key: $0) })
            let kinds: [any Cryptography.Type] = [OpenSSLCryptography.self, GnuTLSCryptography.self]
            others = kinds.map { kind in
                key.withUnsafeBytes {
                    (kind.makeAEAD(.encrypt, suite, key: $0), kind.makeAEAD(.decrypt, suite, key: $0))
                }
            }
        }
    }

    /// - Parameter offset: how far from an aligned address both texts begin.
    private static func seal(
        _ aead: any AEAD, _ plaintext: [UInt8], _ nonce: [UInt8], _ header: [UInt8], offset: Int = 0
    ) -> [UInt8] {
        let source = [UInt8](repeating: 0, count: offset) + plaintext
        var body = [UInt8](repeating: 0xEE, count: offset + plaintext.count + 17 + 8)
        source.withUnsafeBytes { source in
            body.withUnsafeMutableBytes {
                aead.seal(
                    .init(rebasing: source[offset...]), 23, nonce: nonce, header: header, into: $0.baseAddress! + offset)
            }
        }
        #expect(body.prefix(offset).allSatisfy { $0 == 0xEE } && body.suffix(8).allSatisfy { $0 == 0xEE }, "nothing else is touched")
        return Array(body[offset...].dropLast(8))
    }

    /// - Returns: nil if it is refused.
    private static func open(
        _ aead: any AEAD, _ body: [UInt8], _ nonce: [UInt8], _ header: [UInt8], offset: Int = 0
    ) -> [UInt8]? {
        let source = [UInt8](repeating: 0, count: offset) + body
        var plaintext = [UInt8](repeating: 0xEE, count: offset + body.count - 16 + 8)
        let accepted = source.withUnsafeBytes { source in
            plaintext.withUnsafeMutableBytes {
                aead.open(.init(rebasing: source[offset...]), nonce: nonce, header: header, into: $0.baseAddress! + offset)
            }
        }
        #expect(
            plaintext.prefix(offset).allSatisfy { $0 == 0xEE } && plaintext.suffix(8).allSatisfy { $0 == 0xEE },
            "nothing else is touched")
        return accepted ? Array(plaintext[offset...].dropLast(8)) : nil
    }

    /// One key for many records, as in a connection.
    @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM], 0 ..< 8 as Range<UInt64>)
    func recordsOfAnyLengthAreAlike(suite: CipherSuite, seed: UInt64) throws {
        var random = SeededGenerator(seed)
        let trio = try Trio(suite, &random)
        for _ in 0 ..< 150 {
            let longest = [17, 300, 1100, RecordLimits.plaintext].randomElement(using: &random)!
            let length = Int.random(in: 0 ... longest, using: &random), offset = Int.random(in: 0 ..< 64, using: &random)
            let plaintext = random.bytes(length), nonce = random.bytes(12), header = random.bytes(5)
            let body = Self.seal(trio.own, plaintext, nonce, header, offset: offset)
            for other in trio.others {
                // What GnuTLS does with no bytes at all is no concern of ours: no record is empty.
                if length > 0 { #expect(Self.seal(other.seal, plaintext, nonce, header) == body, "\(length) bytes, seed \(seed)") }
                #expect(Self.open(other.open, body, nonce, header) == plaintext + [23], "\(length) bytes, seed \(seed)")
            }
            #expect(Self.open(trio.own, body, nonce, header, offset: offset) == plaintext + [23])
        }
    }

    @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM])
    func everyShortLengthIsAlike(suite: CipherSuite) throws {
        var random = SeededGenerator(1)
        let trio = try Trio(suite, &random)
        let data = random.bytes(1700), nonce = random.bytes(12), header = random.bytes(5)
        for length in 1 ... data.count {
            let plaintext = Array(data[..<length])
            let body = Self.seal(trio.own, plaintext, nonce, header)
            #expect(body == Self.seal(trio.others[0].seal, plaintext, nonce, header), "\(length) bytes")
            #expect(Self.open(trio.own, body, nonce, header) == plaintext + [23], "\(length) bytes")
        }
    }

    /// One flipped bit anywhere: in the ciphertext, the tag, the header or the nonce.
    @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM], [1, 16, 100, 1000, 16_384])
    func aChangedRecordIsRefused(suite: CipherSuite, length: Int) throws {
        var random = SeededGenerator(UInt64(length))
        let trio = try Trio(suite, &random)
        let nonce = random.bytes(12), header = random.bytes(5)
        let body = Self.seal(trio.own, random.bytes(length), nonce, header)
        let tagBits = (8 * (body.count - 16) ..< 8 * body.count)
        let bodyBits = (0 ..< 200).map { _ in Int.random(in: 0 ..< tagBits.lowerBound, using: &random) }
        for bit in Array(tagBits) + bodyBits {
            var changed = body
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Self.open(trio.own, changed, nonce, header) == nil, "bit \(bit)")
        }
        for bit in 0 ..< 8 * 12 {
            var changed = nonce
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Self.open(trio.own, body, changed, header) == nil)
        }
        for bit in 0 ..< 8 * 5 {
            var changed = header
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Self.open(trio.own, body, nonce, changed) == nil)
        }
        #expect(Self.open(trio.own, body, nonce, header) != nil, "a refusal changes nothing")
    }

    @Test func itLeavesChaCha20ToOthers() throws {
        let key = [UInt8](repeating: 1, count: 32)
        #expect(try key.withUnsafeBytes { try IPSecMB.shared.get().makeAEAD(.chaCha20Poly1305, key: $0) } == nil)
    }

    /// Many keys at once on several threads, as the relay's loops have them.
    @Test func keysDoNotDisturbEachOther() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for seed in 0 ..< 4 as Range<UInt64> {
                group.addTask { try recordsOfAnyLengthAreAlike(suite: .aes256GCM, seed: 100 + seed) }
            }
            try await group.waitForAll()
        }
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips, and says why, where libipsec-mb cannot be used.
    static var ipsecMB: Self {
        let fault: IPSecMB.Unavailable? = if case .failure(let fault) = IPSecMB.shared { fault } else { nil }
        return .enabled(if: fault == nil, "NOT TESTED: ipsec-mb cannot be used on this host: \(fault?.reason ?? "")")
    }
}
