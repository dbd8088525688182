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
    /// To both QMP monitors.
    case connecting
    /// Both QEMUs are told what is to come.
    case preparing
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
    /// Bytes sent so far, to be sent still, and of guest memory in all.
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
    /// Seconds from the start of the stream to the guest running at the destination.
    public var totalTime: Double
    /// Seconds the guest stood still, as seen here; QEMU's own figure, which ends when the source is done.
    public var pause: Double?
    public var downtime: Double?
    public var bytes: UInt64
    /// Bytes a second.
    public var averageRate: Double
    public var passes: Int
    /// The guest moved before all of its memory had.
    public var postcopy: Bool
    /// QMP's run states after the migration, as the QEMUs told them: `postmigrate` and `running` (or `paused`, as before).
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
