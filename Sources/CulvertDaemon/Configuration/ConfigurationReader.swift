import CulvertIO
import CulvertRelay
import CulvertTLS
import Foundation
import Logging
import Yams

/// Turns the node tree into a `Configuration`. Whatever is wrong goes to `notes` and reading goes on with the default,
/// so the result counts only if no error was noted.
struct ConfigurationReader {
    let notes: ConfigurationNotes
    let hostName: String

    func read(_ root: Node?) -> Configuration {
        let document = ConfigurationValue(root ?? Node("", .implicit, .plain), key: "", place: .start, notes: notes)
        let top = document.section(["relay", "tls", "peers", "services", "forwards", "limits"])

        var (relay, admin, metrics, log, drain) = readRelay(top?["relay"])
        let tls = readTLS(top?["tls"], relayName: relay.name)
        let peerEntries = top?["peers"]?.entries() ?? []
        relay.peers = peerEntries.compactMap { readPeer($0, relayName: relay.name) }
        checkIdentities(peerEntries, relay.peers)
        checkOwnName(peerEntries, relay.peers, tls)
        let peerNames = peerEntries.map(\.name)
        relay.services = (top?["services"]?.entries() ?? []).compactMap { readService($0, peers: peerNames) }
        var listeners = ListenerRegister(relay: relay, admin: admin, metrics: metrics)
        relay.forwards = (top?["forwards"]?.list() ?? []).compactMap {
            readForward($0, peers: peerNames, listeners: &listeners)
        }
        relay.limits = readLimits(top?["limits"])

        return Configuration(
            file: notes.places.file, relay: relay, tls: tls, admin: admin, metrics: metrics, log: log, drain: drain,
            warnings: notes.warnings, places: notes.places)
    }

    // MARK: relay

    private func readRelay(
        _ value: ConfigurationValue?
    ) -> (relay: RelaySettings, admin: String, metrics: Endpoint?, log: LogSettings, drain: Duration) {
        let section = value?.section(["name", "listen", "admin", "metrics", "loops", "log", "drain"])
        let admin = section?["admin"].flatMap(readAdmin) ?? Configuration.defaultAdmin
        var relay = RelaySettings(
            name: readRelayName(section?["name"]),
            listen: [.tcp(host: "0.0.0.0", port: Configuration.defaultPort)],
            runtimeDirectory: (admin as NSString).deletingLastPathComponent)
        if let listen = section?["listen"] {
            relay.listen = readListen(listen)
        }
        relay.loops = section?["loops"]?.integer(1...64) ?? min(64, ProcessInfo.processInfo.activeProcessorCount)
        let drain = section?["drain"]?.time(.zero ... .seconds(86_400)) ?? .seconds(30)
        let metrics = section?["metrics"].flatMap { readMetrics($0, besides: relay.listen) }
        return (relay, admin, metrics, readLog(section?["log"]), drain)
    }

    private func readRelayName(_ value: ConfigurationValue?) -> String {
        if let value {
            guard let name = value.text() else { return hostName }
            if let fault = Names.fault(in: name) { value.error("'\(name)' \(fault)") }
            return name
        }
        if let fault = Names.fault(in: hostName) {
            notes.error("relay.name", at: .start, "the host's name '\(hostName)' \(fault); set relay.name")
        }
        return hostName
    }

    private func readListen(_ value: ConfigurationValue) -> [Endpoint] {
        guard let items = value.list() else { return [] }
        if items.isEmpty { value.error("no address to listen on; write for example [\"0.0.0.0:16515\"]") }
        var seen: [Endpoint: String] = [:]
        return items.compactMap { item in
            guard let address = item.address() else { return nil }
            if let earlier = seen[address], !address.isChosenByKernel {
                item.error("'\(address.address)' is already \(earlier); remove one of them")
            }
            seen[address] = item.key
            return address
        }
    }

    private func readAdmin(_ value: ConfigurationValue) -> String? {
        guard let path = value.text() else { return nil }
        guard path.hasPrefix("/"), !path.hasSuffix("/") else {
            value.error("'\(path)' is not a socket's absolute path; write for example \(Configuration.defaultAdmin)")
            return nil
        }
        let longest = AdminServer.longestPath
        guard path.utf8.count <= longest else {
            value.error("the path has \(path.utf8.count) bytes; at most \(longest) can be used here")
            return nil
        }
        return path
    }

    private func readMetrics(_ value: ConfigurationValue, besides listen: [Endpoint]) -> Endpoint? {
        guard let address = value.address() else { return nil }
        guard address.isNumeric else {
            value.error("'\(address.address)' begins with a name; write a numeric address, as in 127.0.0.1:9516")
            return nil
        }
        if let index = listen.firstIndex(of: address), !address.isChosenByKernel {
            value.error("'\(address.address)' is already relay.listen[\(index)]; choose another port")
        }
        return address
    }

    private func readLog(_ value: ConfigurationValue?) -> LogSettings {
        var log = LogSettings()
        guard let section = value?.section(["level", "format"]) else { return log }
        log.level = section["level"]?.choice() ?? log.level
        log.format = section["format"]?.choice() ?? log.format
        return log
    }

    // MARK: peers

    private func readPeer(_ entry: ConfigurationEntry, relayName: String) -> PeerSettings? {
        if let fault = Names.fault(in: entry.name) {
            entry.error("the peer's name \(fault)")
        }
        if entry.name == relayName {
            entry.error("a peer cannot have the relay's own name; rename it, or set relay.name")
        }
        guard let section = entry.value.section(["addresses", "identity", "lanes", "compression", "tls"]) else { return nil }
        let addresses = (section["addresses"]?.list() ?? []).compactMap { item -> Endpoint? in
            guard let address = item.address() else { return nil }
            if address.isChosenByKernel {
                item.error("'\(address.address)': port 0 leads nowhere; write the peer's port")
            }
            return address
        }
        let identity = section["identity"]?.text()
        if let identity, let fault = Names.identityFault(in: identity) {
            section["identity"]?.error("'\(identity)' \(fault)")
        }
        var peer = PeerSettings(name: entry.name, addresses: addresses, identity: identity)
        peer.compression = section["compression"]?.choice() ?? peer.compression
        peer.protection = section["tls"]?.choice() ?? peer.protection
        if peer.protection == .none, let value = section["tls"] {
            notes.warning(value.key, at: value.place, "bulk to and from '\(peer.name)' is not encrypted")
        }
        peer.lanes = section["lanes"]?.integer(1...PeerSettings.mostLanes) ?? peer.lanes
        return peer
    }

    /// Two peers that show the same identity could pass for each other.
    private func checkIdentities(_ entries: [ConfigurationEntry], _ peers: [PeerSettings]) {
        var owner: [String: String] = [:]
        for peer in peers {
            let identity = peer.identity.lowercased()
            if let other = owner[identity] {
                let entry = entries.last { $0.name == peer.name }
                entry?.error("its identity '\(peer.identity)' is also that of peer '\(other)'; give each peer its own")
            }
            owner[identity] = peer.name
        }
    }
}

extension Endpoint {
    /// TCP port 0.
    var isChosenByKernel: Bool {
        if case .tcp(_, 0) = self { true } else { false }
    }

    /// TCP at an IPv4 or IPv6 address.
    fileprivate var isNumeric: Bool {
        guard case .tcp(let host, _) = self else { return false }
        var address = in6_addr()
        return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1
    }
}
