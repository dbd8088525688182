/// One frame of the wire protocol, made and read here from its description, without any code of the relay.
struct Frame: Equatable {
    enum Kind {
        static let hello: UInt8 = 1, open: UInt8 = 2, data: UInt8 = 3, ack: UInt8 = 4
        static let reset: UInt8 = 5, ping: UInt8 = 6, pong: UInt8 = 7, goaway: UInt8 = 8, packed: UInt8 = 9, attach: UInt8 = 10
    }

    static let fin: UInt8 = 1

    var kind: UInt8
    var flags: UInt8 = 0
    var reserved: UInt16 = 0
    /// Nil: as long as the body is.
    var length: UInt32?
    var stream: UInt64 = 0
    var body: [UInt8] = []

    var bytes: [UInt8] {
        [kind, flags] + big(reserved) + big(length ?? UInt32(body.count)) + big(stream) + body
    }
}

/// Integers as the wire has them.
func big(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

/// Text as the wire has it.
func counted(_ text: String) -> [UInt8] { big(UInt16(text.utf8.count)) + Array(text.utf8) }

extension Frame {
    static func hello(
        magic: UInt32 = 0x434C_5654, version: UInt16 = 1, minimum: UInt16 = 1, features: UInt64 = 0, session: [UInt8] = Array(1...16), lane: UInt32 = 0,
        replaces: UInt32? = nil, secret: [UInt8] = Array(101...116), streams: UInt32 = 100, credit: UInt64 = 64 << 10, name: String = "hand-made"
    ) -> Frame {
        Frame(
            kind: Kind.hello,
            body: big(magic) + big(version) + big(minimum) + big(features) + session + big(lane) + big(replaces ?? lane) + big(streams)
                + big(UInt32(0)) + big(credit) + secret + counted(name))
    }

    static func attach(high: UInt64, low: UInt64) -> Frame { Frame(kind: Kind.attach, body: big(high) + big(low)) }

    static func open(_ stream: UInt64, _ service: String, credit: UInt64 = 64 << 10, first: String = "") -> Frame {
        Frame(
            kind: Kind.open, stream: stream,
            body: big(credit) + [0, 0] + counted(service) + Array(first.utf8))
    }

    static func data(_ stream: UInt64, at offset: UInt64, _ payload: [UInt8], fin: Bool = false) -> Frame {
        Frame(kind: Kind.data, flags: fin ? Frame.fin : 0, stream: stream, body: big(offset) + payload)
    }

    static func packed(_ stream: UInt64, at offset: UInt64, plain: UInt32, _ block: [UInt8]) -> Frame {
        Frame(kind: Kind.packed, stream: stream, body: big(offset) + big(plain) + block)
    }

    static func ack(_ stream: UInt64, received: UInt64, credit: UInt64, flags: UInt8 = 0) -> Frame {
        Frame(kind: Kind.ack, flags: flags, stream: stream, body: big(received) + big(credit))
    }

    static func reset(_ stream: UInt64, at offset: UInt64, code: UInt32 = 1, _ text: String = "") -> Frame {
        Frame(kind: Kind.reset, stream: stream, body: big(offset) + big(code) + big(UInt32(0)) + counted(text))
    }

    static func ping(_ value: UInt64) -> Frame { Frame(kind: Kind.ping, body: big(value)) }

    static func goaway(_ code: UInt32, last: UInt64 = 0, _ text: String) -> Frame {
        Frame(kind: Kind.goaway, body: big(code) + big(last) + counted(text))
    }

    /// Which session a HELLO is for.
    var session: [UInt8] { Array(body[16..<32]) }

    /// What an OPEN has behind credit, priority and service.
    var firstBytes: [UInt8] { Array(body[(12 + Int(body[10]) * 256 + Int(body[11]))...]) }

    /// What a GOAWAY says.
    var goaway: (code: UInt32, text: String)? {
        guard kind == Kind.goaway, body.count >= 14 else { return nil }
        let code = UInt32(bigEndian: body.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) })
        return (code, String(decoding: body[14...], as: UTF8.self))
    }
}
