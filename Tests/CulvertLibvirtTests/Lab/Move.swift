import Testing

/// What is asked of a migration, in the words of libvirt's migration guide, whoever carries it out.
struct Move: Sendable {
    /// Who controls it.
    enum Flow: String, Sendable { case direct, peerToPeer = "peer to peer", tunnelled }

    /// What the sockets are that lead to the relays.
    enum Legs: Sendable { case unix, tcp }

    /// Which part of its disks the destination does not have.
    enum Storage: String, Sendable { case all, inc }

    var flow = Flow.direct
    var legs = Legs.unix
    var connections: Int?
    var postcopy = false
    var resumes = false
    var storage: Storage?
    var offline = false
    var persistent = false
    var undefineSource = false
    /// MiB/s; nil: as fast as can be.
    var bandwidth: Int?
    /// Which of the sockets that the relays' configuration forwards, 1 to 4.
    var slot = 1
    /// For virsh, as they are.
    var others: [String] = []

    /// So slow that it can be disturbed on the way, and does not end by itself.
    static let slow = Move(bandwidth: 4)
}

extension Move: CustomTestStringConvertible {
    var testDescription: String {
        let parts: [String?] = [
            flow.rawValue, "\(legs) sockets", connections.map { "\($0) connections" }, postcopy ? "post-copy" : nil,
            storage.map { "--copy-storage-\($0)" }, bandwidth.map { "\($0) MiB/s" },
        ]
        return parts.compactMap(\.self).joined(separator: ", ")
    }
}

/// What carries a migration out.
enum Driver: String, CaseIterable, Sendable {
    /// Nothing but virsh, over sockets that the relays' configuration forwards.
    case virsh
    /// `culvert migrate libvirt`, over sockets that it has the relay open.
    case culvert

    /// The command that does it on the source host.
    func words(_ move: Move, _ guest: String, from source: LabHost) -> [String] {
        switch self {
        case .virsh: virsh(move, guest, from: source)
        case .culvert: culvert(move, guest, from: source)
        }
    }

    private func virsh(_ move: Move, _ guest: String, from source: LabHost) -> [String] {
        var words = ["virsh", "migrate", guest]
        switch move.flow {
        case .direct: break
        case .peerToPeer: words += ["--p2p"]
        case .tunnelled: words += ["--p2p", "--tunnelled"]
        }
        words += uris(move, from: source)
        if !move.offline { words += ["--live"] }
        if move.offline { words += ["--offline"] }
        if let connections = move.connections { words += ["--parallel", "--parallel-connections", String(connections)] }
        if move.postcopy { words += ["--postcopy"] }
        if move.resumes { words += ["--postcopy-resume"] }
        if let storage = move.storage { words += ["--copy-storage-\(storage)"] }
        if move.persistent { words += ["--persistent"] }
        if move.undefineSource { words += ["--undefinesource"] }
        if let bandwidth = move.bandwidth { words += ["--bandwidth", String(bandwidth)] }
        return words + move.others
    }

    private func uris(_ move: Move, from source: LabHost) -> [String] {
        let peer = source.peerName
        let slots = "unix:///run/culvert/to-\(peer)/slot\(move.slot)"
        let ports = "tcp://127.0.0.1:\(peer == "hostb" ? 4916 : 4917)"
        var words: [String]
        switch move.legs {
        case .unix: words = ["--desturi", "qemu+unix:///system?socket=/run/culvert/\(peer)/libvirt.sock"]
        case .tcp: words = ["--desturi", "qemu+tcp://127.0.0.1:16509/system"]
        }
        // Tunnelled, everything goes through the libvirt connection; offline, nothing else does.
        if move.flow == .tunnelled || move.offline { return words }
        switch move.legs {
        case .unix:
            words += ["--migrateuri", "\(slots).sock"]
            if move.storage != nil { words += ["--disks-uri", "\(slots)-disks.sock"] }
        case .tcp:
            words += ["--migrateuri", "\(ports)1", "--listen-address", "127.0.0.1"]
            if move.storage != nil { words += ["--disks-uri", "\(ports)2"] }
        }
        return words
    }
}
