/// ALPN `culvert/1` (RFC 7301), without which neither side talks to the other.
enum ApplicationProtocol {
    static let name = "culvert/1"

    /// What a client says to a peer that agreed to nothing.
    static let missing = TLSError(
        .handshake, "the peer speaks TLS but not \(name); check that address and port are a relay's")
}

/// Why a connection is refused before or instead of what the library would say, and the alert that tells the peer so.
struct Objection: Error {
    var alert: Alert
    var error: TLSError
}

/// What matters to us of a ClientHello. Both libraries let a server judge it before they do.
struct ClientOffer {
    private let offersTLS13: Bool
    private let protocols: [[UInt8]]
    private let identities: [[UInt8]]

    /// - Parameter extensions: gives the body of the extension of a number (RFC 8446, 4.2); nil if there is none.
    init(_ extensions: (UInt16) -> [UInt8]?) {
        // One byte of length, then versions of two bytes each (RFC 8446, 4.2.1).
        let versions = (extensions(43) ?? []).dropFirst()
        offersTLS13 = stride(from: versions.startIndex, to: versions.endIndex - 1, by: 2)
            .contains { versions[$0] == 3 && versions[$0 + 1] == 4 }
        var list = ByteParser(extensions(16) ?? [])
        var names = ByteParser(list.vector(lengthBytes: 2) ?? [])
        protocols = names.all { $0.vector(lengthBytes: 1) }
        // Identities of two bytes of length and four of age each; then the binders (RFC 8446, 4.2.11).
        list = ByteParser(extensions(41) ?? [])
        var keys = ByteParser(list.vector(lengthBytes: 2) ?? [])
        identities = keys.all { keys in
            guard let identity = keys.vector(lengthBytes: 2), keys.take(4) != nil else { return nil }
            return identity
        }
    }

    /// What a server has against it.
    func objection(_ credentials: TLSCredentials) -> Objection? {
        guard offersTLS13 else {
            // This explains more than a missing ALPN.
            return Objection(
                alert: .protocolVersion,
                error: .noTLS13)
        }
        guard protocols.contains(where: { $0.elementsEqual(ApplicationProtocol.name.utf8) }) else {
            return Objection(
                alert: .noApplicationProtocol,
                error: TLSError(
                    .handshake,
                    "the peer speaks TLS but not \(ApplicationProtocol.name); another program has dialled this port"))
        }
        guard case .keys(let keys) = credentials else { return nil }
        guard !identities.isEmpty else {
            return Objection(
                alert: .unknownPSKIdentity,
                error: TLSError(
                    .peerIdentity, "the peer names no pre-shared key, and this relay knows its peers by nothing else; "
                        + "set tls.psk on both hosts or on neither"))
        }
        guard !identities.contains(where: { keys.key(of: $0) != nil }) else { return nil }
        return Objection(alert: .unknownPSKIdentity, error: keys.unknown(identities[0]))
    }
}

/// Takes bytes from the front.
private struct ByteParser {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard rest.count >= count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }

    /// A length, big-endian, and as many bytes.
    mutating func vector(lengthBytes: Int) -> [UInt8]? {
        guard let length = take(lengthBytes) else { return nil }
        return take(length.reduce(0) { $0 << 8 | Int($1) })
    }

    /// Everything that `next` finds up to the end or the first thing it does not understand.
    mutating func all(_ next: (inout ByteParser) -> [UInt8]?) -> [[UInt8]] {
        var found: [[UInt8]] = []
        while let bytes = next(&self) { found.append(bytes) }
        return found
    }
}
