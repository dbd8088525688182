/// The first bytes of a peer that turned out not to speak TLS, to say what it speaks instead.
struct StrangeOpening {
    /// Enough to tell protocols apart and to show in a log line.
    private static let limit = 16

    private var bytes: [UInt8] = []

    /// Whether the peer began as nobody does who speaks TLS.
    /// - Throws: what it speaks instead, once enough has arrived to tell.
    mutating func isStrange(_ input: UnsafeRawBufferPointer) throws(TLSError) -> Bool {
        if bytes.count < Self.limit { bytes += input.prefix(Self.limit - bytes.count) }
        guard let description else { return false }
        guard bytes.count >= RecordCipher.headerLength else { return true }
        throw TLSError(.handshake, description)
    }

    /// Nil if it began as TLS does: a handshake or an alert of version 3.x.
    private var description: String? {
        guard let first = bytes.first else { return nil }
        if first == 22 || first == 21, bytes.count < 2 || bytes[1] == 3 { return nil }
        let advice = "check that address and port are those of a culvert relay's TLS port"
        let text = String(decoding: bytes, as: UTF8.self)
        if ["GET ", "HEAD ", "POST ", "PUT ", "OPTIONS ", "CONNECT ", "DELETE ", "HTTP/"].contains(where: text.hasPrefix) {
            return "the peer speaks plain HTTP, not TLS; \(advice)"
        }
        if text.hasPrefix("SSH-") { return "the peer speaks SSH, not TLS; \(advice)" }
        return "the peer does not speak TLS (it began with \(shown)); \(advice)"
    }

    private var shown: String {
        if bytes.allSatisfy({ (0x20 ... 0x7E).contains($0) }) { return "'\(String(decoding: bytes, as: UTF8.self))'" }
        return "bytes " + bytes.map(hexadecimal).joined(separator: " ")
    }
}
