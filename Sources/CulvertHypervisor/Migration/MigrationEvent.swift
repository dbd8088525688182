/// What a migration tells while it goes on. The command's `--json` prints each as one line.
public enum MigrationEvent: Sendable, Equatable {
    case stage(MigrationStage)
    case progress(MigrationProgress)
    /// Something a person should know that is no failure.
    case notice(String)
    case summary(MigrationSummary)
    case failure(MigrationError)
}

public enum MigrationStage: String, Sendable, Encodable, CaseIterable {
    /// To both QEMUs, or both libvirt daemons.
    case connecting
    /// Both are told what is to come.
    case preparing
    /// Disks are copied while the guest runs at the source.
    case storage
    /// Memory is sent while the guest runs at the source.
    case precopy
    /// The guest is stopped and the rest is sent.
    case switchover
    /// Memory is sent while the guest runs at the destination.
    case postcopy
    /// The source is done; the guest is started and looked at on the destination.
    case verifying
    /// It did not work out; the guest is being put back into its state at the source.
    case recovering
}

/// A moment of a migration under way.
public struct MigrationProgress: Sendable, Equatable, Encodable {
    public var stage: MigrationStage
    /// Bytes sent so far, to be sent still, and in all: of guest memory, or of its disks in `storage`.
    public var transferred: UInt64
    public var remaining: UInt64
    public var total: UInt64
    /// Bytes a second: on the wire, and written by the guest.
    public var rate: Double
    public var dirtyRate: Double
    /// From 1.
    public var pass: Int
    /// Seconds since the start, and expected until the end if that can be told.
    public var elapsed: Double
    public var eta: Double?

    /// 0 to 100. Falls back when a new pass finds pages that the guest wrote meanwhile.
    public var percent: Double {
        total == 0 ? 0 : 100 * (1 - min(Double(remaining) / Double(total), 1))
    }

    private enum CodingKeys: String, CodingKey {
        case stage, transferred, remaining, total, rate, dirtyRate, pass, elapsed, eta, percent
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(stage, forKey: .stage)
        try container.encode(transferred, forKey: .transferred)
        try container.encode(remaining, forKey: .remaining)
        try container.encode(total, forKey: .total)
        try container.encode(rate.rounded(), forKey: .rate)
        try container.encode(dirtyRate.rounded(), forKey: .dirtyRate)
        try container.encode(pass, forKey: .pass)
        try container.encode(elapsed, forKey: .elapsed)
        try container.encodeIfPresent(eta, forKey: .eta)
        try container.encode(percent, forKey: .percent)
    }
}

/// A migration that is done.
public struct MigrationSummary: Sendable, Equatable, Encodable {
    /// Whose figures and states these are.
    public enum Teller: String, Sendable, Encodable {
        case qemu = "QEMU"
        case libvirt
    }

    public var teller = Teller.qemu
    /// Only the guest's definition was copied.
    public var offline = false
    /// Seconds from the start of the stream to the guest running at the destination.
    public var totalTime: Double
    /// Seconds the guest stood still, as seen here; the teller's own figure, in QEMU until the source is done.
    public var pause: Double?
    public var downtime: Double?
    public var bytes: UInt64
    /// Bytes a second.
    public var averageRate: Double
    public var passes: Int
    /// The guest moved before all of its memory had.
    public var postcopy: Bool
    /// The teller's words for the states after the migration: QMP's `postmigrate` and `running` (or `paused`, as before), or
    /// libvirt's `shut off` and `running`; `gone` where there is nothing left to ask.
    public var sourceState: String
    public var destinationState: String
    public var sourceQuit: Bool
}

extension MigrationEvent: Encodable {
    private enum CodingKeys: String, CodingKey { case event, stage, text }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .stage(let stage):
            try container.encode("stage", forKey: .event)
            try container.encode(stage, forKey: .stage)
        case .progress(let progress):
            try container.encode("progress", forKey: .event)
            try progress.encode(to: encoder)
        case .notice(let text):
            try container.encode("notice", forKey: .event)
            try container.encode(text, forKey: .text)
        case .summary(let summary):
            try container.encode("summary", forKey: .event)
            try summary.encode(to: encoder)
        case .failure(let error):
            try container.encode("error", forKey: .event)
            try error.encode(to: encoder)
        }
    }
}
