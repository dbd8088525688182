/// QEMU's answer to `query-migrate`. Every field is optional: it depends on the version and the state.
struct MigrationInfo: Sendable, Decodable, Equatable {
    struct RAM: Sendable, Decodable, Equatable {
        var transferred: UInt64?
        var remaining: UInt64?
        var total: UInt64?
        /// Pages a second.
        var dirtyPagesRate: UInt64?
        var pageSize: UInt64?
        /// Counts the passes begun.
        var dirtySyncCount: Int?

        private enum CodingKeys: String, CodingKey {
            case transferred, remaining, total
            case dirtyPagesRate = "dirty-pages-rate"
            case pageSize = "page-size"
            case dirtySyncCount = "dirty-sync-count"
        }
    }

    var status: MigrationState?
    var ram: RAM?
    /// Milliseconds.
    var downtime: Int?
    var totalTime: Int?
    var errorText: String?

    private enum CodingKeys: String, CodingKey {
        case status, ram, downtime
        case totalTime = "total-time"
        case errorText = "error-desc"
    }

    /// With the figures of `earlier` where this one has none: QEMU drops them when a migration ends badly.
    func keepingFigures(of earlier: MigrationInfo) -> MigrationInfo {
        var info = self
        info.ram = ram ?? earlier.ram
        return info
    }
}

/// `status` of `query-migrate`, as far as it makes a difference here.
enum MigrationState: Sendable, Equatable, Decodable {
    /// Between `migrate` and the first pass, whatever QEMU does there.
    case starting
    case active
    /// The guest is stopped for the last part.
    case switchover
    /// The guest runs at the destination and its memory follows.
    case postcopy
    case postcopyPaused
    case completed
    case failed
    case cancelling
    case cancelled
    /// There has been none.
    case idle

    init(from decoder: any Decoder) throws {
        self = switch try decoder.singleValueContainer().decode(String.self) {
        case "none": .idle
        case "active": .active
        case "pre-switchover", "device": .switchover
        // "postcopy-device" and "failing" are of newer QEMUs: on the way to "postcopy-active" and to "failed".
        case "postcopy-active", "postcopy-device", "postcopy-recover", "postcopy-recover-setup": .postcopy
        case "postcopy-paused": .postcopyPaused
        case "completed": .completed
        case "failed": .failed
        case "cancelling", "failing": .cancelling
        case "cancelled": .cancelled
        default: .starting
        }
    }

    /// A migration that has neither ended nor not begun.
    var isUnderway: Bool {
        switch self {
        case .starting, .active, .switchover, .postcopy, .postcopyPaused, .cancelling: true
        case .idle, .completed, .failed, .cancelled: false
        }
    }
}
