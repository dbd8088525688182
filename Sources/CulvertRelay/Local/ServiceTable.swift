import CulvertIO
import CulvertProtocol

/// What peers may reach here, and where it leads.
struct ServiceTable: Sendable {
    enum Target: Equatable {
        case endpoint(Endpoint)
        /// A built-in service that says this and ends.
        case answer(String)
        /// What relays tell each other about a stream that is to pass by the session.
        case bypass
    }

    /// Services whose name starts so are the relay's own.
    static let builtIn = "culvert/"
    /// `culvert/target/SERVICE[/NAME]` answers where that service leads, to a peer that may reach it.
    private static let targetQuery = "culvert/target/"
    /// `culvert/services` answers what the peer may ask for, with NAME where it has to put one.
    private static let list = "culvert/services"
    static let bypass = "culvert/bypass"
    /// Most bytes of the NAME in `service/NAME`.
    private static let longestName = 64

    private let services: [String: ServiceSettings]

    init(_ services: [ServiceSettings]) {
        self.services = Dictionary(services.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    func resolve(_ asked: String, for peer: String) throws(ServiceRefusal) -> Target {
        if asked.hasPrefix(Self.targetQuery) {
            let endpoint = try endpoint(String(asked.dropFirst(Self.targetQuery.count)), for: peer)
            return .answer("{\"target\":\(Self.quoted(endpoint.description))}\n")
        }
        if asked == Self.list { return .answer("{\"services\":[\(allowed(to: peer))]}\n") }
        if asked == Self.bypass { return .bypass }
        guard !asked.hasPrefix(Self.builtIn) else {
            throw ServiceRefusal(reason: ResetReason(.unknownService, "there is no built-in service '\(asked)'"))
        }
        return .endpoint(try endpoint(asked, for: peer))
    }

    /// The path of a socket that was made for one NAME; nil if `asked` leads elsewhere.
    func namedSocket(_ asked: String, for peer: String) -> String? {
        guard asked.contains("/"), !asked.hasPrefix(Self.builtIn), case .unix(let path)? = try? endpoint(asked, for: peer)
        else { return nil }
        return path
    }

    private func allowed(to peer: String) -> String {
        services.values.filter { $0.allow.contains(peer) }
            .map { Self.quoted($0.template == nil ? $0.name : "\($0.name)/NAME") }
            .sorted().joined(separator: ",")
    }

    private func endpoint(_ asked: String, for peer: String) throws(ServiceRefusal) -> Endpoint {
        let parts = asked.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let service = services[String(parts[0])] else {
            throw ServiceRefusal(reason: ResetReason(.unknownService, "there is no service '\(parts[0])' here"))
        }
        guard service.allow.contains(peer) else {
            throw ServiceRefusal(reason: ResetReason(
                .notAllowed, "the service '\(service.name)' does not allow '\(peer)'; its 'allow' would have to name it"))
        }
        let name = parts.count > 1 ? String(parts[1]) : nil
        guard let template = service.template else {
            guard name == nil else {
                throw ServiceRefusal(reason: ResetReason(
                    .badName, "the service '\(service.name)' takes no name; ask for '\(service.name)'"))
            }
            return service.connect
        }
        guard let name else {
            throw ServiceRefusal(reason: ResetReason(
                .badName, "the service '\(service.name)' needs a name; ask for '\(service.name)/NAME'"))
        }
        guard Self.isName(name) else {
            throw ServiceRefusal(reason: ResetReason(
                .badName, "a name has 1 to \(Self.longestName) letters, digits, '-' or '_'"))
        }
        let path = template.before + name + template.after
        guard path.utf8.count <= Endpoint.longestUnixPath else {
            throw ServiceRefusal(reason: ResetReason(
                .badName, "with this name the socket's path has \(path.utf8.count) bytes; the kernel takes \(Endpoint.longestUnixPath)"))
        }
        return .unix(path: path)
    }

    /// A name can lead nowhere but to a sibling: it has neither slash nor dot.
    private static func isName(_ text: String) -> Bool {
        (1...longestName).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// Why a peer does not get what it asked for.
struct ServiceRefusal: Error {
    var reason: ResetReason
}

extension ServiceSettings {
    static let placeholder = "{name}"

    /// The path around `{name}`, if there is one.
    var template: (before: String, after: String)? {
        guard case .unix(let path) = connect else { return nil }
        var start = path.startIndex
        while start < path.endIndex {
            if path[start...].hasPrefix(Self.placeholder) {
                let end = path.index(start, offsetBy: Self.placeholder.count)
                return (String(path[..<start]), String(path[end...]))
            }
            start = path.index(after: start)
        }
        return nil
    }
}
