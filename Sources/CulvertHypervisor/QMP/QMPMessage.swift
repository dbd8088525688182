import Foundation

/// Something that QEMU announced by itself.
public struct QMPEvent: Sendable {
    public let name: String
    /// The whole message as it came.
    let message: Data

    private struct Body<Content: Decodable>: Decodable { let data: Content }

    /// The event's `data`, or nil if it has none of that shape.
    public func data<Content: Decodable>(as type: Content.Type = Content.self) -> Content? {
        try? JSONDecoder().decode(Body<Content>.self, from: message).data
    }
}

/// The part of a message from QEMU that tells where it belongs.
struct QMPHeader: Decodable {
    struct Failure: Decodable {
        let `class`: String
        let desc: String
    }

    let QMP: QMPGreeting?
    let event: String?
    let id: UInt64?
    let error: Failure?
}

struct QMPGreeting: Decodable {
    struct Version: Decodable { let qemu: QEMUVersion }
    let version: Version
}

/// The version of a QEMU, from its QMP greeting.
public struct QEMUVersion: Sendable, Equatable, Decodable, CustomStringConvertible {
    public let major: Int
    public let minor: Int
    public let micro: Int

    public var description: String { "\(major).\(minor).\(micro)" }
}

/// A command on its way to QEMU.
struct QMPCommand<Arguments: Encodable>: Encodable {
    let execute: String
    let arguments: Arguments
    let id: UInt64
}

/// `"arguments": {}`, and a reply whose content nobody wants.
public struct QMPNothing: Sendable, Codable {
    public init() {}
    public init(from decoder: any Decoder) {}
}

/// A successful reply.
struct QMPReply<Content: Decodable>: Decodable {
    let content: Content
    private enum CodingKeys: String, CodingKey { case content = "return" }
}
