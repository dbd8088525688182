/// Finds key updates among the handshake messages that follow the handshake (RFC 8446, 4.6). Messages may be split and
/// joined anywhere, but a key update ends its record.
struct PostHandshakeParser {
    /// The type and length of a message, as far as they have arrived.
    private var header: [UInt8] = []
    /// Bytes of the present message that are still to come.
    private var remaining = 0
    /// Only clients get session tickets. We use none.
    private let takesTickets: Bool

    private static let headerLength = 4
    private static let newSessionTicket: UInt8 = 4
    private static let keyUpdate: UInt8 = 24

    init(role: TLSRole) { takesTickets = role == .client }

    /// True in the middle of a message, where nothing else may come.
    var isInside: Bool { !header.isEmpty }

    enum KeyUpdate: UInt8 { case notRequested = 0, requested = 1 }

    /// - Returns: the key update that `bytes` ends with, if it does.
    mutating func parse(_ bytes: UnsafeRawBufferPointer) throws(RecordFault) -> KeyUpdate? {
        var bytes = bytes[...]
        while !bytes.isEmpty {
            if header.count < Self.headerLength {
                header.append(bytes.removeFirst())
                if header.count == Self.headerLength { try begin() }
                continue
            }
            if header[0] == Self.keyUpdate {
                guard let update = KeyUpdate(rawValue: bytes.removeFirst()) else { throw .illegalParameter }
                guard bytes.isEmpty else { throw .unexpectedMessage }
                header = []
                return update
            }
            let skipped = min(remaining, bytes.count)
            bytes.removeFirst(skipped)
            remaining -= skipped
            if remaining == 0 { header = [] }
        }
        return nil
    }

    private mutating func begin() throws(RecordFault) {
        remaining = Int(header[1]) << 16 | Int(header[2]) << 8 | Int(header[3])
        switch header[0] {
        case Self.keyUpdate: guard remaining == 1 else { throw .decodeError }
        case Self.newSessionTicket where takesTickets: guard remaining > 0 else { throw .decodeError }
        default: throw .unexpectedMessage
        }
    }
}
