import Foundation

/// libvirt's figures of a job, as `virsh domjobinfo --rawstats` prints them. Every field is optional: it depends on the
/// versions of libvirt and QEMU and on the state of the job. Sizes are bytes, times milliseconds.
struct JobStatistics: Sendable, Equatable {
    private var values: [String: UInt64] = [:]
    /// libvirt's `VIR_DOMAIN_JOB_…`: 0 none, 1 and 2 under way, 3 done, 4 failed, 5 cancelled.
    private var type: UInt64 = 0

    /// Takes the lines `NAME: VALUE` of `text` and leaves all others.
    init(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, let value = UInt64(parts[1].trimmingCharacters(in: .whitespaces)) else { continue }
            if parts[0] == "Job type" { type = value } else { values[String(parts[0])] = value }
        }
    }

    var isUnderway: Bool { type == 1 || type == 2 }
    var isEmpty: Bool { values.isEmpty }

    var downtime: UInt64? { values["downtime"] }
    /// Of memory and disks together.
    var transferred: UInt64? { values["data_processed"] }

    var memory: Figures? { figures("memory") }
    var disk: Figures? { figures("disk") }
    /// Counts the passes over the memory, from 1 once there are any.
    var pass: Int? { values["memory_iteration"].flatMap(Int.init(exactly:)) }
    /// Pages that the guest waited for in post-copy.
    var postcopyRequests: UInt64 { values["memory_postcopy_requests"] ?? 0 }
    /// Bytes a second.
    var dirtyRate: Double { Double(values["memory_dirty_rate"] ?? 0) * Double(values["memory_page_size"] ?? 4096) }

    struct Figures: Sendable, Equatable {
        /// Bytes a second, as libvirt sees it; 0 if it does not say.
        var rate: Double
        var total: UInt64
        var transferred: UInt64
        var remaining: UInt64
    }

    /// Nil where there is nothing of the kind to move.
    private func figures(_ kind: String) -> Figures? {
        guard let total = values["\(kind)_total"], total > 0 else { return nil }
        return Figures(
            rate: Double(values["\(kind)_bps"] ?? 0), total: total, transferred: values["\(kind)_processed"] ?? 0, remaining: values["\(kind)_remaining"] ?? 0)
    }
}

/// A domain's state as `virsh domstate --reason` prints it: `running (booted)`, `paused (post-copy failed)`, `shut off (saved)`.
struct DomainState: Sendable, Equatable {
    /// The names of virsh's `virshDomainState`.
    private static let known: Set<String> = [
        "no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended",
    ]

    var state: String
    var reason: String

    /// Finds the state among other lines.
    init?(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: "(", maxSplits: 1)
            let state = (parts.first ?? "").trimmingCharacters(in: .whitespaces)
            guard Self.known.contains(state) else { continue }
            self.state = state
            reason = parts.count > 1 ? parts[1].trimmingCharacters(in: .init(charactersIn: ") ")) : ""
            return
        }
        return nil
    }

    var isActive: Bool { !["shut off", "no state", "crashed"].contains(state) }
    /// At the source: the guest runs, or is to run, at the destination without all of its memory.
    var isPostcopy: Bool { state == "paused" && reason.hasPrefix("post-copy") }
    var hasBrokenPostcopy: Bool { reason == "post-copy failed" }
    var isMigrating: Bool { state == "paused" && reason == "migrating" }
}
