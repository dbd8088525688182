import CulvertIO

/// What to migrate, through what, and how.
public struct MigrationPlan: Sendable, Equatable {
    /// The local part of the stream's way.
    public enum Leg: Sendable, Equatable {
        /// The source QEMU connects to a forward, at this address or where the tunnel chooses.
        case forward(listen: Endpoint? = nil)
        /// The source QEMU starts this command, to which the stream's `PEER/SERVICE` is appended.
        case exec(command: String)
    }

    /// The far part of the stream's way.
    public enum Route: Sendable, Equatable {
        /// Through `PEER/SERVICE/NAME` with a name of its own; the far relay tells the path that goes with it.
        case template(service: String)
        /// Through `to`, a `PEER/SERVICE`; the destination QEMU listens at `incoming`, a QEMU migration URI.
        case fixed(to: String, incoming: String)
    }

    public struct Postcopy: Sendable, Equatable {
        /// Whole precopy passes before the guest moves; 0: it moves at once.
        public var afterPasses: Int
        /// Has a channel of its own for the pages the guest waits for.
        public var preempt: Bool

        public init(afterPasses: Int = 0, preempt: Bool = false) {
            self.afterPasses = afterPasses
            self.preempt = preempt
        }
    }

    /// Path of the source QEMU's QMP socket.
    public var source: String
    /// The relay next to the destination, and its service that leads to the destination QEMU's QMP.
    public var peer: String
    public var destinationService: String
    public var route = Route.template(service: "migrate")
    public var leg = Leg.forward()
    /// Names this migration on both hosts; nil: `migrate-` and twelve random hexadecimal digits.
    public var name: String?

    /// Channels of multifd; nil: one plain stream.
    public var multifd: Int?
    public var postcopy: Postcopy?
    /// Most bytes a second.
    public var bandwidth = Self.unlimitedBandwidth
    /// The pause of the guest that QEMU aims at.
    public var downtime = Duration.milliseconds(300)
    public var autoConverge = false

    /// For the whole migration; nil: as long as it moves.
    public var timeout: Duration?
    /// How long it may go without moving a byte.
    public var stallTimeout = Duration.seconds(120)
    /// Ends the source QEMU once the guest runs at the destination.
    public var quitSource = false
    /// Ends the destination QEMU if the guest stays at the source.
    public var quitDestination = false

    /// Beyond any link, in bytes a second. QEMU's own default of 128 MiB/s is far below the links this is for.
    public static let unlimitedBandwidth = 1 << 40

    public init(source: String, peer: String, destinationService: String) {
        self.source = source
        self.peer = peer
        self.destinationService = destinationService
    }

    /// Why the plan cannot work, in one sentence; nil if it may.
    public var fault: String? {
        if multifd != nil, postcopy != nil {
            // QEMU 7.2 takes both and then loses the guest: the destination dies of an assertion after the migration.
            return "multifd and post-copy exclude each other in QEMU; choose one"
        }
        if let multifd, !(1...255).contains(multifd) { return "multifd takes 1 to 255 channels, not \(multifd)" }
        if multifd != nil, case .exec = leg { return "multifd needs sockets; it cannot go through exec" }
        if bandwidth < 1 { return "the bandwidth must be at least 1 B/s" }
        // QEMU: MAX_MIGRATE_DOWNTIME is 2000 s.
        if downtime < .milliseconds(1) || downtime > .seconds(2000) { return "the downtime must be from 1 ms to 2000 s" }
        return name.flatMap(MigrationName.fault)
    }
}
