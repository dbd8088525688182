import CulvertIO
import CulvertRelay
import Foundation

/// Body of `POST /v1/forwards`, in the words of the configuration file.
public struct ForwardRequest: Sendable, Equatable, Codable {
    /// Nil lets the relay choose a UNIX socket in its runtime directory; for `once` forwards only.
    public var listen: String?
    public var to: String
    public var once: Bool?
    public var lease: String?
    public var mode: String?
    public var owner: String?
    public var group: String?
    public var priority: String?

    public init(to: String, listen: String? = nil) {
        self.to = to
        self.listen = listen
    }

    /// What is wrong with a request, for the person who made it.
    struct Fault: Error, Equatable {
        var description: String
    }

    /// Refuses unknown keys, so that a misspelt option is not an option ignored.
    init(json: Data) throws(Fault) {
        let known = ["listen", "to", "once", "lease", "mode", "owner", "group", "priority"]
        let object: [String: Any]
        do {
            guard let map = try JSONSerialization.jsonObject(with: json) as? [String: Any] else {
                throw Fault(description: "the body is not a JSON object")
            }
            object = map
            if let key = object.keys.sorted().first(where: { !known.contains($0) }) {
                let advice = Spelling.advice(
                    for: key, among: known, otherwise: "known are \(known.joined(separator: ", "))")
                throw Fault(description: "unknown key '\(key)'; \(advice)")
            }
            self = try JSONDecoder().decode(Self.self, from: json)
        } catch let fault as Fault {
            throw fault
        } catch DecodingError.keyNotFound(let key, _) {
            throw Fault(description: "'\(key.stringValue)' is missing")
        } catch DecodingError.typeMismatch(_, let context) {
            let key = context.codingPath.last?.stringValue ?? "body"
            throw Fault(description: "'\(key)' has the wrong type; 'once' is true or false, everything else a string")
        } catch {
            throw Fault(description: "the body is not JSON")
        }
    }

    /// - Parameter choosePath: gives a fresh socket path when `listen` leaves the choice to the relay.
    func settings(choosePath: () -> String) throws(Fault) -> ForwardSettings {
        guard let reference = ServiceReference(to) else {
            throw Fault(description: "to: '\(to)' is not PEER/SERVICE or PEER/SERVICE/NAME")
        }
        // A relay's answer to where a service leads is a service too, named after it.
        let query = "culvert/target/"
        let service = reference.service.hasPrefix(query) ? String(reference.service.dropFirst(query.count)) : reference.service
        if let fault = Names.serviceFault(in: service) { throw Fault(description: "to: '\(to)': \(fault)") }
        let chosen = listen == nil || listen == "unix:"
        if chosen, once != true {
            throw Fault(description: "'listen' is missing; only a once forward may leave it to the relay")
        }
        var settings = ForwardSettings(
            listen: try Self.endpoint(chosen ? "unix:" + choosePath() : listen ?? ""), to: reference)
        settings.once = once ?? false
        settings.lease = try lease.map(Self.lease)
        settings.priority = try priority.map(Self.priority) ?? .auto
        settings.unix = UnixSocketOptions(mode: try mode.map(Self.mode), owner: owner, group: group)
        // As the admin socket's own: who may ask for a forward may use it.
        if chosen, mode == nil { settings.unix.mode = AdminServer.socketMode }
        return settings
    }

    private static func endpoint(_ text: String) throws(Fault) -> Endpoint {
        do throws(EndpointError) {
            return try Endpoint(text)
        } catch {
            throw Fault(description: "listen: \(error.description)")
        }
    }

    private static func lease(_ text: String) throws(Fault) -> Duration {
        do throws(UnitError) {
            let lease = try Units.time.parse(text)
            guard (Duration.seconds(1) ... .seconds(86_400)).contains(lease) else {
                throw UnitError(description: "\(text) is out of range; it goes from 1s to 24h")
            }
            return lease
        } catch {
            throw Fault(description: "lease: \(error.description)")
        }
    }

    private static func priority(_ text: String) throws(Fault) -> StreamPriority {
        guard let priority = StreamPriority(rawValue: text) else {
            let names = StreamPriority.allCases.map(\.rawValue).joined(separator: ", ")
            throw Fault(description: "priority: '\(text)' is not one of \(names)")
        }
        return priority
    }

    private static func mode(_ text: String) throws(Fault) -> UInt32 {
        guard let mode = FileMode.parse(text) else {
            throw Fault(description: "mode: '\(text)' is not a mode; write three octal digits, as in \"0660\"")
        }
        return mode
    }
}
