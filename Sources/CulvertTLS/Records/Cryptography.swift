import Glibc

/// What records need of a cryptographic library.
protocol Cryptography: Sendable {
    /// HMAC with the digest of `suite`; `digest` takes `suite.digestLength` bytes.
    static func authenticate(
        _ message: [UInt8], key: UnsafeRawBufferPointer, suite: CipherSuite, into digest: UnsafeMutableRawBufferPointer)

    /// - Parameter key: of `suite.keyLength` bytes; nothing of it is referred to afterwards.
    static func makeAEAD(_ direction: RecordDirection, _ suite: CipherSuite, key: UnsafeRawBufferPointer) -> any AEAD
}

enum RecordDirection { case decrypt, encrypt }

/// Authenticated encryption under one key, in one direction. Nonces have `CipherSuite.nonceLength` bytes, and what is only
/// authenticated is a record's header.
protocol AEAD: AnyObject {
    /// Encrypts `plaintext`, with `type` as a last byte behind it, and puts the tag behind that.
    func seal(
        _ plaintext: UnsafeRawBufferPointer, _ type: UInt8, nonce: UnsafeRawPointer, header: UnsafeRawPointer,
        into body: UnsafeMutableRawPointer)

    /// Decrypts `body`, whose end is the tag.
    /// - Returns: false if it was not sealed so; what `plaintext` then holds means nothing.
    func open(
        _ body: UnsafeRawBufferPointer, nonce: UnsafeRawPointer, header: UnsafeRawPointer,
        into plaintext: UnsafeMutableRawPointer
    ) -> Bool
}

/// Leaves nothing of a secret behind.
func wipe(_ secret: UnsafeMutableRawBufferPointer) { explicit_bzero(secret.baseAddress!, secret.count) }
