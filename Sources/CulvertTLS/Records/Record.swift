/// What a record carries (RFC 8446, B.1).
enum ContentType: UInt8 {
    case alert = 21
    case handshake = 22
    case applicationData = 23
}

/// Bounds on a record (RFC 8446, 5.1 and 5.2).
enum RecordLimits {
    static let plaintext = 1 << 14
    /// Content type, padding and tag included.
    static let body = plaintext + 256
    /// What encryption adds to a record of ours, which has no padding.
    static let overhead = RecordCipher.headerLength + 1 + CipherSuite.tagLength
}

/// The five bytes before an encrypted record, which always claims to be application data of TLS 1.2.
struct RecordHeader {
    /// Of what follows the header.
    var length: Int

    init(length: Int) { self.length = length }

    /// - Precondition: `bytes` holds a header.
    init(_ bytes: UnsafeRawBufferPointer) throws(RecordFault) {
        length = Int(bytes[3]) << 8 | Int(bytes[4])
        // Whatever is not encrypted comes from nobody we know. The version is to be ignored.
        guard bytes[0] == ContentType.applicationData.rawValue else { throw .unexpectedMessage }
        guard length <= RecordLimits.body else { throw .recordOverflow }
        guard length > CipherSuite.tagLength else { throw .badRecordMAC }
    }

    func write(to record: UnsafeMutableRawPointer) {
        record.storeBytes(of: ContentType.applicationData.rawValue, as: UInt8.self)
        record.storeBytes(of: UInt16(0x0303).bigEndian, toByteOffset: 1, as: UInt16.self)
        record.storeBytes(of: UInt16(length).bigEndian, toByteOffset: 3, as: UInt16.self)
    }
}

/// Why a record is not acceptable; the raw value is the alert that says so (RFC 8446, 6).
enum RecordFault: UInt8, Error {
    case unexpectedMessage = 10
    case badRecordMAC = 20
    case recordOverflow = 22
    case illegalParameter = 47
    case decodeError = 50

    var text: String {
        switch self {
        case .unexpectedMessage: "unexpected message"
        case .badRecordMAC: "bad record mac"
        case .recordOverflow: "record too long"
        case .illegalParameter: "illegal parameter"
        case .decodeError: "malformed message"
        }
    }
}
