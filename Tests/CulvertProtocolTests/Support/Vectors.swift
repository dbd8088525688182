import Foundation

@testable import CulvertProtocol

/// The test vectors that docs/PROTOCOL.md explains.
enum Vectors {
    struct Valid: Decodable {
        var name: String
        var hex: Hex
        var frame: Frame
    }

    struct Tolerated: Decodable {
        var name: String
        var hex: Hex
        /// The vector of `frames.json` with the same meaning.
        var `as`: String
    }

    struct Malformed: Decodable {
        var name: String
        var hex: Hex
    }

    struct Conversation: Decodable {
        var name: String
        var valid: Bool
        var hears: [Hex]
    }

    static func load<Vector: Decodable>(_ file: String) throws -> [Vector] {
        let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let data = try Data(contentsOf: directory.appendingPathComponent("Vectors/\(file).json"))
        return try JSONDecoder().decode([Vector].self, from: data)
    }
}

/// Bytes as hexadecimal digits; spaces part fields for the reader.
struct Hex: Decodable, CustomStringConvertible {
    var bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let digits = try container.decode(String.self).filter { $0 != " " }.map(\.hexDigitValue)
        guard digits.count % 2 == 0, !digits.contains(nil) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not pairs of hexadecimal digits")
        }
        bytes = stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0]! << 4 | digits[$0 + 1]!) }
    }

    var description: String { bytes.map { String(format: "%02x", $0) }.joined() }
}

extension Frame: Decodable {
    private struct Fields: Decodable {
        var type: String
        var version, minimumVersion: UInt16?
        var lane, replaces: UInt32?
        var priority: UInt8?
        var maximumStreams, code, errno, plain: UInt32?
        /// 64-bit numbers are decimal strings, since JSON readers disagree on large ones.
        var features, initialCredit, stream, credit, offset, received, finalOffset, lastStream, value: String?
        var session, secret, token, name, service, text: String?
        var first, payload, block: Hex?
        var fin, reset: Bool?
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let fields = try container.decode(Fields.self)
        guard let frame = Self.frame(fields) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "a field of \(fields.type) is missing")
        }
        self = frame
    }

    private static func frame(_ fields: Fields) -> Frame? {
        switch fields.type {
        case "HELLO": return hello(fields)
        case "OPEN":
            guard let stream = number(fields.stream), let credit = number(fields.credit),
                let priority = fields.priority.flatMap(Priority.init), let service = fields.service,
                let first = fields.first, let fin = fields.fin
            else { return nil }
            return .open(
                Open(stream: stream, credit: credit, priority: priority, service: service), first: first.bytes, fin: fin)
        case "DATA":
            guard let stream = number(fields.stream), let offset = number(fields.offset), let payload = fields.payload,
                let fin = fields.fin
            else { return nil }
            return .data(stream, at: offset, payload.bytes, fin: fin)
        case "PACKED":
            guard let stream = number(fields.stream), let offset = number(fields.offset), let plain = fields.plain,
                let block = fields.block, let fin = fields.fin
            else { return nil }
            return .packed(stream, at: offset, plain: plain, block.bytes, fin: fin)
        case "ACK":
            guard let stream = number(fields.stream), let received = number(fields.received),
                let credit = number(fields.credit), let fin = fields.fin, let reset = fields.reset
            else { return nil }
            return .ack(Ack(stream: stream, received: received, credit: credit, fin: fin, reset: reset))
        case "RESET":
            guard let stream = number(fields.stream), let final = number(fields.finalOffset), let code = fields.code,
                let errno = fields.errno, let text = fields.text
            else { return nil }
            let reason = ResetReason(ResetCode(rawValue: code), errno: errno, text)
            return .reset(Reset(stream: stream, finalOffset: final, reason: reason))
        case "PING": return number(fields.value).map { .ping($0) }
        case "PONG": return number(fields.value).map { .pong($0) }
        case "GOAWAY":
            guard let code = fields.code, let last = number(fields.lastStream), let text = fields.text else { return nil }
            return .goaway(Goaway(code: GoawayCode(rawValue: code), lastStream: last, text: text))
        case "ATTACH":
            guard let token = fields.token, let high = UInt64(token.prefix(16), radix: 16),
                let low = UInt64(token.dropFirst(16), radix: 16)
            else { return nil }
            return .attach(Attach(token: SessionID(high: high, low: low)))
        default: return nil
        }
    }

    private static func hello(_ fields: Fields) -> Frame? {
        guard let session = fields.session, let high = UInt64(session.prefix(16), radix: 16),
            let low = UInt64(session.dropFirst(16), radix: 16), let credit = number(fields.initialCredit),
            let streams = fields.maximumStreams, let name = fields.name, let version = fields.version,
            let minimum = fields.minimumVersion, let features = number(fields.features), let lane = fields.lane,
            let replaces = fields.replaces, let secret = fields.secret, let secretHigh = UInt64(secret.prefix(16), radix: 16),
            let secretLow = UInt64(secret.dropFirst(16), radix: 16)
        else { return nil }
        var hello = Hello(
            session: SessionID(high: high, low: low), initialCredit: credit, maximumStreams: streams, name: name)
        hello.version = version
        hello.minimumVersion = minimum
        hello.features = Features(rawValue: features)
        hello.lane = lane
        hello.replaces = replaces
        hello.secret = SessionID(high: secretHigh, low: secretLow)
        return .hello(hello)
    }

    private static func number(_ text: String?) -> UInt64? { text.flatMap { UInt64($0) } }
}
