/// The peer's direction of an established connection: records to plaintext.
final class RecordReader {
    /// What came of one record.
    enum Outcome: Equatable {
        /// This much data is at the front of the buffer.
        case data(Int)
        /// The peer has renewed its key, and wants us to do so too if `true`.
        case keyUpdate(answer: Bool)
        case alert(UInt8)
        /// Nothing that concerns us.
        case nothing
    }

    private var secret: TrafficSecret
    private var cipher: RecordCipher
    private let accelerator: IPSecMB?
    private var messages: PostHandshakeParser
    /// Records in a row that brought no data.
    private var barren = 0
    /// As many as OpenSSL puts up with; each costs us work and brings nothing.
    private static let barrenLimit = 32

    init(_ secret: TrafficSecret, role: TLSRole, _ accelerator: IPSecMB? = nil) {
        self.secret = secret
        self.accelerator = accelerator
        cipher = RecordCipher(.decrypt, secret, accelerator)
        messages = PostHandshakeParser(role: role)
    }

    /// See `TLSEngine.withKernelKey`.
    func withKey<Failure: Error>(
        _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer, UInt64) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        try secret.withKey { (key, nonce) throws(Failure) in try body(key, nonce, cipher.sequence) }
    }

    /// The length of the record at the front of `ciphertext`; nil while it is incomplete.
    static func recordLength(_ ciphertext: UnsafeRawBufferPointer) throws(RecordFault) -> Int? {
        guard ciphertext.count >= RecordCipher.headerLength else { return nil }
        let length = RecordCipher.headerLength + (try RecordHeader(ciphertext)).length
        return length <= ciphertext.count ? length : nil
    }

    /// Room that a record of `length` needs in `read`: its data, type and padding.
    static func room(for length: Int) -> Int { length - RecordCipher.headerLength - CipherSuite.tagLength }

    /// Decrypts one whole record.
    func read(_ record: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer) throws(RecordFault) -> Outcome {
        var end = Self.room(for: record.count)
        guard cipher.open(record, into: plaintext.baseAddress!) else { throw .badRecordMAC }
        // Zeros behind the type are padding.
        while end > 0, plaintext[end - 1] == 0 { end -= 1 }
        guard end > 0, let type = ContentType(rawValue: plaintext[end - 1]) else { throw .unexpectedMessage }
        let content = UnsafeRawBufferPointer(rebasing: plaintext[..<(end - 1)])
        guard content.count <= RecordLimits.plaintext else { throw .recordOverflow }
        if type == .applicationData, !content.isEmpty {
            barren = 0
        } else {
            barren += 1
            guard barren <= Self.barrenLimit else { throw .unexpectedMessage }
        }
        return try interpret(type, content)
    }

    private func interpret(_ type: ContentType, _ content: UnsafeRawBufferPointer) throws(RecordFault) -> Outcome {
        guard type == .handshake || !messages.isInside else { throw .unexpectedMessage }
        switch type {
        case .applicationData:
            return .data(content.count)
        case .alert:
            guard content.count == 2 else { throw .decodeError }
            return .alert(content[1])
        case .handshake:
            guard !content.isEmpty else { throw .unexpectedMessage }
            guard let update = try messages.parse(content) else { return .nothing }
            secret = secret.next()
            cipher = RecordCipher(.decrypt, secret, accelerator)
            return .keyUpdate(answer: update == .requested)
        }
    }
}
