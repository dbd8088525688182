/// One end of one TLS connection, without a socket: ranges of bytes in, ranges of bytes out.
///
/// An engine belongs to one thread at a time. After any throw it is good only for `drainOutput`, which may hold the alert
/// that tells the peer why.
public protocol TLSEngine: AnyObject {
    /// Goes as far as `input` allows. Feed again from `consumed`; drain the output after each call, also after a throw.
    func handshake(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, done: Bool)

    /// Ciphertext of the engine's own making (handshake, alerts, key updates) that waits to be sent before anything else.
    var pendingOutput: Int { get }

    /// Moves pending output into `buffer`; returns how much.
    func drainOutput(into buffer: UnsafeMutableRawBufferPointer) -> Int

    /// Room that `encrypt` needs for `count` bytes of plaintext, pending output included.
    func maximumCiphertext(for count: Int) -> Int

    /// Encrypts all of `plaintext` as full records and a rest, behind any pending output. Nothing of `plaintext` is
    /// referred to afterwards.
    /// - Precondition: `ciphertext.count >= maximumCiphertext(for: plaintext.count)`.
    /// - Returns: bytes written to `ciphertext`.
    func encrypt(
        _ plaintext: UnsafeRawBufferPointer, into ciphertext: UnsafeMutableRawBufferPointer
    ) throws(TLSError) -> Int

    /// Decrypts as many records as `ciphertext` holds and `plaintext` has room for (16 KiB for each is always enough).
    /// Call again while either side made progress. A record of which a part is missing stays unconsumed: keep it and
    /// feed it again with more behind it; whole it has at most 16,645 bytes.
    func decrypt(
        _ ciphertext: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer
    ) throws(TLSError) -> TLSDecrypted

    /// Makes a close_notify alert pending. Nothing can be encrypted after it; what the peer still sends can be decrypted.
    func close()

    /// Gives one direction's key to whoever makes or reads the next records from here on; this engine must not any more.
    /// - Parameters:
    ///   - sending: the direction.
    ///   - body: gets the key (16 or 32 bytes), the initialization vector (12 bytes) and the number of the next record.
    /// - Returns: false if the cipher is not AES-GCM, or the handshake is not done; `body` was not called.
    func withKernelKey<Failure: Error>(
        sending: Bool, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer, UInt64) throws(Failure) -> Void
    ) throws(Failure) -> Bool

    /// Who the peer is. Valid after the handshake.
    var peer: PeerIdentity { get }

    /// For people: library, protocol version and cipher suite, as in `OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384`, and whose
    /// cipher the records have if not that library's, as in `, records by ipsec-mb 1.3.0`.
    var summary: String { get }
}

public struct TLSDecrypted: Equatable, Sendable {
    public var consumed: Int
    public var produced: Int
    /// The peer said close_notify; nothing follows.
    public var ended: Bool

    public init(consumed: Int, produced: Int, ended: Bool) {
        self.consumed = consumed
        self.produced = produced
        self.ended = ended
    }
}

public enum TLSRole: Sendable { case client, server }

/// Who has proved to be the peer, by a certificate or by knowing a pre-shared key.
public struct PeerIdentity: Equatable, Sendable {
    /// The certificate's subject, or what names the key; for people.
    public var subject: String
    /// Names of the peer, lower case: DNS names of its certificate, or the name of its key.
    public var names: [String]
    /// When the certificate ends, seconds since 1970; infinity for a key.
    public var notAfter: Double

    public init(subject: String, names: [String], notAfter: Double) {
        self.subject = subject
        self.names = names
        self.notAfter = notAfter
    }
}

/// A TLS failure. `description` says what failed, why, and what to do about it where that is known.
public struct TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: Sendable, Equatable {
        /// A file of ours is missing, unreadable, malformed, or does not match another.
        case credentials
        /// The peer's certificate, or its pre-shared key, is not acceptable to us.
        case peerIdentity
        /// The peer refused us or broke off with an alert.
        case alert
        /// What arrived is not TLS 1.3, or not our ALPN.
        case handshake
        /// A record failed to decrypt or broke the protocol.
        case record
    }
    public var code: Code
    public var description: String

    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
