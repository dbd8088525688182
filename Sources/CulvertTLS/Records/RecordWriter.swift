/// Our direction of an established connection: plaintext to records.
final class RecordWriter {
    private var secret: TrafficSecret
    private var cipher: RecordCipher
    private let accelerator: IPSecMB?
    /// The peer has asked for a key update of ours, which goes ahead of the next data.
    var owesKeyUpdate = false
    /// Records under one key. AES-GCM's bound is 2^24.5 full ones (RFC 8446, 5.5); this stays well clear of it.
    var recordsPerKey: UInt64 = 1 << 23

    /// What `encrypt` may put ahead of the data.
    static let keyUpdateLength = RecordLimits.overhead + 5

    init(_ secret: TrafficSecret, _ accelerator: IPSecMB? = nil) {
        self.secret = secret
        self.accelerator = accelerator
        cipher = RecordCipher(.encrypt, secret, accelerator)
    }

    /// See `TLSEngine.withKernelKey`.
    func withKey<Failure: Error>(
        _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer, UInt64) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        try secret.withKey { (key, nonce) throws(Failure) in try body(key, nonce, cipher.sequence) }
    }

    /// Room that `encrypt` needs.
    static func maximumCiphertext(for count: Int) -> Int {
        let records = (count + RecordLimits.plaintext - 1) / RecordLimits.plaintext
        return count + records * RecordLimits.overhead + keyUpdateLength
    }

    /// Encrypts all of `plaintext`; returns how much there is of it in `ciphertext`.
    func encrypt(_ plaintext: UnsafeRawBufferPointer, into ciphertext: UnsafeMutableRawBufferPointer) -> Int {
        guard var output = ciphertext.baseAddress else { return 0 }
        if owesKeyUpdate || cipher.sequence >= recordsPerKey { output += updateKey(output) }
        var rest = plaintext
        while !rest.isEmpty {
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(RecordLimits.plaintext))
            output += cipher.seal(.applicationData, piece, into: output)
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(piece.count))
        }
        return output - ciphertext.baseAddress!
    }

    /// A record with an alert in it.
    func alert(_ number: UInt8) -> [UInt8] {
        // TLS 1.3 ignores the level, but older eyes read warning (1) and fatal (2).
        let alert: [UInt8] = [number == 0 ? 1 : 2, number]
        return [UInt8](unsafeUninitializedCapacity: RecordLimits.overhead + alert.count) { record, count in
            count = alert.withUnsafeBytes { cipher.seal(.alert, $0, into: record.baseAddress!) }
        }
    }

    private func updateKey(_ output: UnsafeMutableRawPointer) -> Int {
        // A message of type key_update, one byte long, that asks for nothing back.
        let message: [UInt8] = [24, 0, 0, 1, PostHandshakeParser.KeyUpdate.notRequested.rawValue]
        let count = message.withUnsafeBytes { cipher.seal(.handshake, $0, into: output) }
        secret = secret.next()
        cipher = RecordCipher(.encrypt, secret, accelerator)
        owesKeyUpdate = false
        return count
    }
}
