/// The keys that a relay shares with its peers, one with each, from a file as QEMU and psktool(1) write it: lines
/// `NAME:KEY`, KEY in hexadecimal.
///
/// NAME is the peer. Who dials presents its own name, `user`, and proves to know the key of the line for the other; who
/// accepts looks up the line of the name presented. So either end knows the other by the one key that the two share, and a
/// peer cannot pass for another with it. A name of our own is never accepted: a connection of ours that somebody leads back
/// to us would pass for a peer's (RFC 9257, 4.1).
struct PreSharedKeys: Sendable {
    let file: String
    /// What this relay presents itself as.
    let user: String
    let warnings: [String]
    /// By lower-case name.
    private let keys: [String: [UInt8]]

    /// Of a key, in bytes: 128 bits (RFC 9257, 6), and what GnuTLS takes at most.
    private static let lengths = 16 ... 64
    private static let longestName = 128

    init(file path: String, user: String) throws(TLSError) {
        let source = try CredentialFile(.preSharedKeys, path)
        var keys: [String: [UInt8]] = [:]
        var warnings = source.permissionWarning.map { [$0] } ?? []
        let lines = source.bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard !line.isEmpty else { continue }
            let (name, key) = try Self.parse(line) { source.error("line \(index + 1): \($0)") }
            guard keys.updateValue(key, forKey: name) == nil else {
                throw source.error("line \(index + 1): there is a line for '\(name)' already; keep one")
            }
        }
        if keys.removeValue(forKey: user.lowercased()) != nil {
            warnings.append(
                "\(source.kind.rawValue) \(path): the line '\(user)' is this relay's own name and not used; lines name peers")
        }
        guard !keys.isEmpty else {
            throw source.error("holds no key of a peer; make one with 'psktool -u PEER -p \(path)'")
        }
        for (name, key) in keys.sorted(by: { $0.key < $1.key }) {
            guard let other = keys.filter({ $0.value == key && $0.key < name }).keys.min() else { continue }
            throw source.error(
                "'\(other)' and '\(name)' have the same key, so that either could pass for the other; give each its own")
        }
        self.file = path
        self.user = user
        self.keys = keys
        self.warnings = warnings
    }

    /// Names may differ in case only as DNS names do, where it does not matter.
    func key(of peer: some Sequence<UInt8>) -> [UInt8]? { key(of: String(decoding: Array(peer), as: UTF8.self)) }

    func key(of peer: String) -> [UInt8]? { keys[peer.lowercased()] }

    /// What is wrong if a peer that we know has no line.
    func missing(_ peer: String) -> String {
        "\(file) has no line for '\(peer)'; make the key with 'psktool -u \(peer) -p \(file)' and give the peer the same "
            + "key in a line '\(user):KEY'"
    }

    /// What to say of a peer that presents a name without a line.
    func unknown(_ identity: [UInt8]) -> TLSError {
        let name = String(decoding: identity.prefix(Self.longestName), as: UTF8.self)
        if name.lowercased() == user.lowercased() {
            return TLSError(
                .peerIdentity,
                "the peer presents the name of this relay, '\(user)'; check that addresses of peers do not lead back here")
        }
        let shown = String(decoding: name.utf8.map { (0x20 ... 0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
        return TLSError(
            .peerIdentity, "the peer presents the pre-shared key '\(shown)', for which \(file) has no line")
    }

    /// What to say of a peer whose key is another.
    func mismatch(_ peer: String?) -> TLSError {
        TLSError(
            .peerIdentity, "the peer presents the pre-shared key '\(peer ?? "?")' but its key is not the one in \(file); "
                + "both hosts need the same")
    }

    private static func parse(
        _ line: ArraySlice<UInt8>, _ error: (String) -> TLSError
    ) throws(TLSError) -> (name: String, key: [UInt8]) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
            throw error("is not NAME:KEY, as psktool writes it")
        }
        let name = line[..<colon], digits = line[(colon + 1)...]
        guard name.first != UInt8(ascii: "#") else {
            throw error("the name is in hexadecimal, which is not supported; write the peer's name as it is")
        }
        guard (1 ... longestName).contains(name.count), name.allSatisfy({ (0x21 ... 0x7E).contains($0) }) else {
            throw error("the name has to be 1 to \(longestName) visible ASCII characters")
        }
        let key = stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            UInt8(String(decoding: digits.dropFirst(offset).prefix(2), as: UTF8.self), radix: 16)
        }
        guard digits.count == 2 * key.count, !digits.contains(UInt8(ascii: "+")) else {
            throw error("the key of '\(String(decoding: name, as: UTF8.self))' is not hexadecimal digits, two a byte")
        }
        guard lengths.contains(key.count) else {
            throw error(
                "the key of '\(String(decoding: name, as: UTF8.self))' has \(key.count) bytes; it takes "
                    + "\(lengths.lowerBound) to \(lengths.upperBound), and psktool makes 32")
        }
        return (String(decoding: name, as: UTF8.self).lowercased(), key)
    }
}

extension PeerIdentity {
    init(key name: String) {
        self.init(subject: "pre-shared key \(name)", names: [name.lowercased()], notAfter: .infinity)
    }
}
