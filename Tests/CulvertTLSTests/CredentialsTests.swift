import COpenSSL
import Glibc
import Testing

@testable import CulvertTLS

/// What a person reads when a file of theirs is at fault.
@Suite struct CredentialsTests {
    private let pki: TestPKI
    private let good: TLSFiles

    init() throws {
        pki = try TestPKI()
        good = try pki.issue("hosta")
    }

    private func expectFailure(
        _ edit: (inout TLSFiles) -> Void, _ parts: [String], at location: SourceLocation = #_sourceLocation
    ) {
        var files = good
        edit(&files)
        let error = #expect(throws: TLSError.self, sourceLocation: location) { try TLSContext(files: files) }
        expectError(error, .credentials, parts, at: location)
    }

    @Test func goodFilesCauseNoWarning() throws {
        #expect(try TLSContext(files: good).warnings == [])
    }

    @Test func aMissingFileIsNamed() {
        expectFailure({ $0.ca = "/nowhere/ca.pem" }, ["CA file /nowhere/ca.pem: No such file", "'culvert certs init'"])
        expectFailure({ $0.certificate = "/nowhere/a.pem" }, ["certificate /nowhere/a.pem: No such file", "'culvert certs issue'"])
        expectFailure({ $0.key = good.key + "/x" }, ["key \(good.key)/x: Not a directory", "correct the path"])
    }

    @Test func aDirectoryIsNoFile() {
        expectFailure({ $0.ca = pki.directory }, ["CA file \(pki.directory): not a regular file"])
        expectFailure({ $0.key = "/dev/null" }, ["key /dev/null: not a regular file"])
    }

    @Test func anEmptyOrForeignFileIsNamed() throws {
        let empty = try pki.write([], "empty"), text = try pki.write(Array("listen: 16515\n".utf8), "text")
        for path in [empty, text, good.key] {
            expectFailure({ $0.ca = path }, ["CA file \(path): holds no PEM certificate", "BEGIN CERTIFICATE"])
            expectFailure({ $0.certificate = path }, ["certificate \(path): holds no PEM certificate"])
        }
        let label = "PRIVATE KEY"
        for path in [empty, text, good.certificate] {
            expectFailure({ $0.key = path }, ["key \(path): holds no PEM private key", "BEGIN \(label)"])
        }
    }

    @Test func aHugeFileIsNotRead() throws {
        let huge = try pki.write([UInt8](repeating: 10, count: CredentialFile.largest + 1), "huge")
        expectFailure({ $0.ca = huge }, ["CA file \(huge): 1048577 bytes are too many"])
    }

    @Test(arguments: ["ca", "certificate", "key"])
    func malformedPEMIsNamed(kind: String) throws {
        let path = kind == "ca" ? good.ca : kind == "key" ? good.key : good.certificate
        let whole = try CredentialFile(.ca, path).bytes
        var damaged = whole
        damaged[whole.count / 2] = UInt8(ascii: "!")
        for bytes in [damaged, Array(whole[..<(whole.count - 40)])] {
            let broken = try pki.write(bytes, "broken")
            expectFailure(
                {
                    switch kind {
                    case "ca": $0.ca = broken
                    case "key": $0.key = broken
                    default: $0.certificate = broken
                    }
                }, ["\(broken): malformed PEM", "restore the file or issue it anew"])
        }
    }

    @Test func aDamagedSecondCertificateIsCounted() throws {
        var bytes = try CredentialFile(.certificate, good.certificate).bytes
        bytes += bytes[..<(bytes.count - 40)]
        let chain = try pki.write(bytes, "chain.pem")
        expectFailure({ $0.certificate = chain }, ["malformed PEM", "in certificate 2"])
    }

    @Test func anEncryptedKeyIsNamed() throws {
        let key = try CredentialFile(.key, good.key).privateKey()
        let bio = try #require(BIO_new(BIO_s_mem()))
        defer { BIO_free(bio) }
        PEM_write_bio_PKCS8PrivateKey(bio, key.pkey, EVP_aes_256_cbc(), "secret", 6, nil, nil)
        let path = try pki.write(contents(of: bio), "encrypted.key")
        expectFailure({ $0.key = path }, ["key \(path): the key is encrypted", "openssl pkey -in \(path)"])
    }

    @Test func aKeyOfAnotherCertificateIsNamed() throws {
        let other = try pki.issue("hostb")
        expectFailure(
            { $0.key = other.key },
            ["key \(other.key) does not match certificate \(good.certificate) (CN=hosta)", "issued together"])
    }

    @Test func aWeakKeyIsNamed() throws {
        let generator = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, nil)
        defer { EVP_PKEY_CTX_free(generator) }
        EVP_PKEY_keygen_init(generator)
        EVP_PKEY_CTX_set_rsa_keygen_bits(generator, 1024)
        var pkey: OpaquePointer?
        EVP_PKEY_generate(generator, &pkey)
        let key = PrivateKey(owning: try #require(pkey))
        let builder = try CertificateBuilder(CertificateTerms(name: "weak", days: 30), key: key)
        let certificate = try builder.signed(by: pki.authority.key, issuer: pki.authority.certificate)
        let path = try pki.write(certificate.pem(), "weak.pem"), keyPath = try pki.write(key.pem(), "weak.key")
        expectFailure(
            { ($0.certificate, $0.key) = (path, keyPath) }, ["certificate \(path): OpenSSL refuses it", "key too small"])
    }

    @Test(arguments: [(0o644, "0644"), (0o640, "0640"), (0o660, "0660")])
    func aKeyThatOthersMayUseIsAWarning(mode: Int, shown: String) throws {
        try pki.write(CredentialFile(.key, good.key).bytes, "hosta.key", mode: mode)
        let warnings = try TLSContext(files: good).warnings
        #expect(warnings == ["key \(good.key): its mode \(shown) lets others than its owner use it; chmod 600 it"])
    }

    @Test func whatPeersWillRefuseIsAWarning() throws {
        let expired = try TLSContext(files: pki.issue("old") { ($0.notBefore, $0.notAfter) = (0, 1_577_934_245) })
        #expect(expired.warnings.count == 1 && expired.warnings[0].contains("(CN=old) expired on 2020-01-02 03:04:05 UTC"))
        let soon = try TLSContext(files: pki.issue("soon") { $0.notAfter = now() + 86_400 })
        #expect(soon.warnings.count == 1 && soon.warnings[0].contains("soon.pem expires on"))
    }

    /// Root may read everything, so this test is another user for a moment.
    @Test(.enabled(if: geteuid() == 0)) func anUnreadableFileIsNamed() throws {
        let path = good.key
        let result = try asAnotherUser { Result { () throws(TLSError) in try CredentialFile(.key, path) } }
        guard case .failure(let error) = result else {
            Issue.record("the file could be read")
            return
        }
        expectError(error, .credentials, ["key \(path): Permission denied; let uid"])
    }

    /// The file-system user belongs to the thread, so other tests stay who they are (setfsuid(2)).
    private func asAnotherUser<Value>(_ body: () -> Value) throws -> Value {
        typealias SetUser = @convention(c) (uid_t) -> Int32
        let setUser = unsafeBitCast(try #require(dlsym(nil, "setfsuid")), to: SetUser.self)
        _ = setUser(65_534)
        defer { _ = setUser(0) }
        return body()
    }
}
