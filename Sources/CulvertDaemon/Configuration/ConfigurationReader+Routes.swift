import CulvertIO
import CulvertRelay

/// Services, forwards and limits.
extension ConfigurationReader {
    // MARK: services

    func readService(_ entry: ConfigurationEntry, peers: [String]) -> ServiceSettings? {
        if let fault = Names.fault(in: entry.name) {
            entry.error("the service's name \(fault)")
        } else if entry.name == Names.reservedService {
            entry.error("the name '\(entry.name)' is reserved for the relay's own services; choose another")
        }
        guard let section = entry.value.section(["connect", "allow"]) else { return nil }
        let target = section.require("connect", example: "\"unix:/run/\(entry.name).sock\"")
        let allow = section.require("allow", example: "[\(peers.first ?? "PEER")]")
        let names = allow.flatMap { readAllow($0, peers: peers) }
        guard let target, let connect = readTarget(target), let names else { return nil }
        return ServiceSettings(name: entry.name, connect: connect, allow: names)
    }

    private func readTarget(_ value: ConfigurationValue) -> Endpoint? {
        guard let endpoint = value.endpoint() else { return nil }
        switch endpoint {
        case .unix(let path):
            if let fault = PathTemplate.fault(in: path) {
                value.error("'\(path)': \(fault)")
                return nil
            }
            if let room = PathTemplate.room(in: path), room < PathTemplate.usualName {
                notes.warning(
                    value.key, at: value.place,
                    "leaves \(room) bytes for NAME; a UUID takes \(PathTemplate.usualName), shorten the path")
            }
        case .tcp(_, let port):
            if endpoint.address.contains("{") {
                value.error("'\(endpoint)': {name} works in UNIX paths only")
                return nil
            }
            if port == 0 {
                value.error("'\(endpoint)': port 0 leads nowhere; write the service's port")
                return nil
            }
        }
        return endpoint
    }

    private func readAllow(_ value: ConfigurationValue, peers: [String]) -> [String]? {
        guard let items = value.list() else { return nil }
        var names: [String] = []
        for item in items {
            guard let name = item.text() else { continue }
            checkPeer(name, peers, item)
            if names.contains(name) { item.error("'\(name)' is here already; remove it") }
            names.append(name)
        }
        return names
    }

    private func checkPeer(_ name: String, _ peers: [String], _ value: ConfigurationValue) {
        guard !peers.contains(name) else { return }
        let advice = Spelling.advice(for: name, among: peers, otherwise: "add it under peers")
        value.error("there is no peer '\(name)'; \(advice)")
    }

    // MARK: forwards

    func readForward(
        _ value: ConfigurationValue, peers: [String], listeners: inout ListenerRegister
    ) -> ForwardSettings? {
        guard let section = value.section(["listen", "to", "mode", "owner", "group", "priority"]) else { return nil }
        let listenValue = section.require("listen", example: "\"unix:/run/culvert/x.sock\"")
        let toValue = section.require("to", example: "\"\(peers.first ?? "PEER")/SERVICE\"")
        let listen = listenValue.flatMap { value in
            value.endpoint().flatMap { readListener($0, value, &listeners) }
        }
        let to = toValue.flatMap { readReference($0, peers: peers) }
        let unix = readUnixOptions(section, listen)
        let priority: StreamPriority? = section["priority"]?.choice()
        guard let listen, let to else { return nil }
        var forward = ForwardSettings(listen: listen, to: to)
        forward.unix = unix
        forward.priority = priority ?? .auto
        return forward
    }

    private func readListener(
        _ listen: Endpoint, _ value: ConfigurationValue, _ listeners: inout ListenerRegister
    ) -> Endpoint? {
        if listen.address.contains("{") || listen.address.contains("}") {
            value.error("'\(listen)': {name} works only in a service's connect; write the path out")
            return nil
        }
        if let other = listeners.add(listen, as: value.key) {
            value.error("'\(listen)' is already \(other); give each listener an address of its own")
            return nil
        }
        return listen
    }

    private func readReference(_ value: ConfigurationValue, peers: [String]) -> ServiceReference? {
        guard let text = value.text() else { return nil }
        guard let reference = ServiceReference(text) else {
            value.error("'\(text)' is not PEER/SERVICE or PEER/SERVICE/NAME")
            return nil
        }
        if let fault = Names.serviceFault(in: reference.service) {
            value.error("'\(text)': \(fault)")
            return nil
        }
        checkPeer(reference.peer, peers, value)
        return reference
    }

    private func readUnixOptions(_ section: ConfigurationSection, _ listen: Endpoint?) -> UnixSocketOptions {
        if case .tcp = listen {
            for name in ["mode", "owner", "group"] {
                section[name]?.error("works for UNIX sockets only; remove it")
            }
        }
        let mode = section["mode"].flatMap { value -> UInt32? in
            guard let text = value.text() else { return nil }
            guard let mode = FileMode.parse(text) else {
                value.error("'\(text)' is not a mode; write three octal digits, as in \"0660\"")
                return nil
            }
            return mode
        }
        return UnixSocketOptions(mode: mode, owner: section["owner"]?.text(), group: section["group"]?.text())
    }

    // MARK: limits

    func readLimits(_ value: ConfigurationValue?) -> RelayLimits {
        var limits = RelayLimits()
        guard
            let section = value?.section([
                "stream-window", "session-memory", "relay-memory", "streams-per-session", "unauthenticated-connections",
                "handshake-timeout", "connect-timeout", "open-wait", "keepalive", "session-timeout",
            ])
        else { return limits }

        limits.streamWindow = section["stream-window"]?.size(64 << 10...4 << 30) ?? limits.streamWindow
        limits.sessionMemory = section["session-memory"]?.size(64 << 10...1 << 40) ?? limits.sessionMemory
        limits.relayMemory = section["relay-memory"]?.size(64 << 10...1 << 40) ?? limits.relayMemory
        limits.streamsPerSession = section["streams-per-session"]?.integer(1...1_000_000) ?? limits.streamsPerSession
        limits.unauthenticatedConnections =
            section["unauthenticated-connections"]?.integer(1...65_536) ?? limits.unauthenticatedConnections
        let timeout = Duration.milliseconds(100) ... .seconds(300)
        limits.handshakeTimeout = section["handshake-timeout"]?.time(timeout) ?? limits.handshakeTimeout
        limits.connectTimeout = section["connect-timeout"]?.time(timeout) ?? limits.connectTimeout
        limits.openWait = section["open-wait"]?.time(.zero ... .seconds(10)) ?? limits.openWait
        limits.keepalive = section["keepalive"]?.time(.seconds(1) ... .seconds(600)) ?? limits.keepalive
        limits.sessionTimeout = section["session-timeout"]?.time(.zero ... .seconds(3600)) ?? limits.sessionTimeout

        checkOrder(section, ("stream-window", limits.streamWindow), ("session-memory", limits.sessionMemory))
        checkOrder(section, ("session-memory", limits.sessionMemory), ("relay-memory", limits.relayMemory))
        return limits
    }

    /// Reports at whichever of the two the file sets, the outer bound first.
    private func checkOrder(
        _ section: ConfigurationSection, _ inner: (key: String, bytes: Int), _ outer: (key: String, bytes: Int)
    ) {
        guard inner.bytes > outer.bytes else { return }
        (section[outer.key] ?? section[inner.key])?.error(
            "\(outer.key) (\(Units.size.text(outer.bytes))) is less than \(inner.key) (\(Units.size.text(inner.bytes))); "
                + "raise the one or lower the other")
    }
}

/// Which local address each listener of the file has, to find two that collide.
struct ListenerRegister {
    private var taken: [Endpoint: String] = [:]

    init(relay: RelaySettings, admin: String, metrics: Endpoint?) {
        for (index, address) in relay.listen.enumerated() {
            taken[address] = "relay.listen[\(index)]"
        }
        taken[.unix(path: admin)] = "relay.admin"
        if let metrics { taken[metrics] = "relay.metrics" }
    }

    /// Returns the listener that has the address already.
    mutating func add(_ endpoint: Endpoint, as key: String) -> String? {
        if let earlier = taken[endpoint], !endpoint.isChosenByKernel { return earlier }
        taken[endpoint] = key
        return nil
    }
}

extension ConfigurationValue {
    /// `unix:/path` or `tcp:host:port`.
    func endpoint() -> Endpoint? {
        read { text throws(EndpointError) in try Endpoint(text) }
    }

    /// `host:port`.
    func address() -> Endpoint? {
        if case .scalar(let scalar) = node, scalar.string.hasPrefix("tcp:") || scalar.string.hasPrefix("unix:") {
            error("'\(scalar.string)': only TCP works here; write host:port alone")
            return nil
        }
        return read { text throws(EndpointError) in try Endpoint(hostAndPort: text) }
    }

    private func read(_ parse: (String) throws(EndpointError) -> Endpoint) -> Endpoint? {
        guard let text = text() else { return nil }
        do throws(EndpointError) {
            let endpoint = try parse(text)
            if case .unix(let path) = endpoint, path.hasSuffix("/") {
                error("'\(text)': a socket's path cannot end in a slash; write the socket's own name")
                return nil
            }
            return endpoint
        } catch {
            self.error(error.description)
            return nil
        }
    }
}
