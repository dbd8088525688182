/// Which guest libvirt shall migrate, through what, and how.
public struct LibvirtPlan: Sendable, Equatable {
    /// Who speaks to the destination's daemon, and how the guest's memory goes there.
    public enum Flow: Sendable, Equatable {
        /// virsh, which this command starts, speaks to both daemons. If it dies, the guest stays at the source.
        case direct
        /// The source's daemon does. If the command dies, the migration goes on.
        case peerToPeer
        /// As `peerToPeer`, with the memory inside the daemons' own connection.
        case tunnelled
    }

    public enum Storage: String, Sendable, Equatable, CaseIterable {
        /// Whole disks.
        case all
        /// What differs from a base image that both hosts have.
        case incremental = "inc"
    }

    public enum Postcopy: Sendable, Equatable {
        /// The guest moves after so many whole passes over its memory; 0: at once.
        case start(afterPasses: Int)
        /// An earlier migration broke after the guest had moved; this one brings the rest of its memory.
        case resume
    }

    /// Name, id or UUID.
    public var domain: String
    /// The relay next to the destination.
    public var peer: String
    /// The source's daemon as a libvirt URI; nil leaves it to virsh.
    public var connect: String?
    /// The peer's service that leads to its libvirt daemon.
    public var service = "libvirt"
    /// The peer's service for the guest's memory: one with `{name}`, or one that always leads to the same socket or port.
    public var migrateService = "migrate"
    /// The same for its disks; nil: `migrateService`, if that has `{name}`.
    public var disksService: String?
    /// Names this migration on both hosts; nil: `migrate-` and twelve random hexadecimal digits.
    public var name: String?

    public var flow = Flow.direct
    /// Copies the definition only.
    public var offline = false
    /// Connections to use at once for memory; nil: one.
    public var parallel: Int?
    public var postcopy: Postcopy?
    public var storage: Storage?
    /// Keeps the definition at the destination; removes it from the source.
    public var persistent = false
    public var undefineSource = false
    /// Most bytes a second, at least 1 MiB; nil: no limit.
    public var bandwidth: Int?
    /// For the whole migration; nil: as long as it takes.
    public var timeout: Duration?
    /// How long virsh waits for a daemon that does not answer; nil: virsh's own limit. Rounded up to a multiple of 5 s.
    public var keepalive: Duration?
    /// For virsh as they are.
    public var virshOptions: [String] = []
    /// The command, looked up in PATH.
    public var virsh = "virsh"

    public init(domain: String, peer: String) {
        self.domain = domain
        self.peer = peer
    }

    /// Why the plan cannot work, in one sentence; nil if it may. What libvirt itself refuses is left to libvirt.
    public var fault: String? {
        if offline {
            if flow == .tunnelled || parallel != nil || postcopy != nil || storage != nil || bandwidth != nil {
                return "an offline migration copies the definition only; leave out the options for memory and disks"
            }
        }
        if flow == .tunnelled {
            if parallel != nil || postcopy != nil || storage != nil {
                return "libvirt's tunnelled transport has no parallel connections, no post-copy and no storage copy; "
                    + "leave out --tunnelled, the relay encrypts either way"
            }
        }
        if parallel != nil, postcopy != nil {
            // QEMU 7.2 takes both and then loses the guest: the destination dies of an assertion after the migration.
            return "parallel connections and post-copy exclude each other in QEMU; choose one"
        }
        // QEMU: MultiFD channels are a byte.
        if let parallel, !(1...255).contains(parallel) { return "a migration takes 1 to 255 parallel connections, not \(parallel)" }
        if case .start(let passes) = postcopy, passes < 0 { return "the number of passes before post-copy cannot be negative" }
        if let bandwidth, bandwidth < Self.leastBandwidth { return "the bandwidth must be at least 1 MiB/s, libvirt's unit" }
        if keepalive != nil, flow != .direct {
            return "with --p2p it is the source's daemon that asks the other one whether it is there; leave out --keepalive, and "
                + "set keepalive_count in its qemu.conf"
        }
        return name.flatMap(MigrationName.fault)
    }

    static let leastBandwidth = 1 << 20

    /// Memory or disks go through sockets of their own.
    var hasStream: Bool { !offline && flow != .tunnelled }
}
