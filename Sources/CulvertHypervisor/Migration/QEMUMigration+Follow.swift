import Foundation

/// From the start of the stream until the source QEMU is done with it.
extension QEMUMigration {
    /// Between two looks at the source, unless an event calls for one earlier.
    private static let interval = Duration.milliseconds(200)
    static let noWayBack =
        "the guest has moved in post-copy and cannot come back; waiting for the rest of its memory (cancel again to leave it "
        + "to the QEMUs)"

    func follow() async throws(MigrationFault) {
        let (source, destination) = ends
        // While it sends the last of a stopped guest, QEMU answers nothing.
        let patience = plan.stallTimeout + plan.downtime
        var meter = RateMeter()
        var stall = StallWatch(limit: plan.stallTimeout, now: .now)
        var told = false
        // Asked for before the first look: a small guest is across before the second.
        if plan.postcopy?.afterPasses == 0 { try await beginPostcopy() }
        while true {
            let info = try await source.migrationInfo(within: patience)
            lastInfo = info.keepingFigures(of: lastInfo)
            show(info, &meter)
            let stalled = stall.isStalled(at: info, now: .now)
            switch info.status {
            case .completed:
                return
            case .failed:
                throw .stream(info.errorText)
            case .postcopyPaused:
                throw .split(info.errorText)
            case .cancelled:
                throw .stopped("it was cancelled through the source's QMP by somebody else")
            case .idle:
                throw .stream("the source QEMU knows of no migration")
            case .postcopy:
                if control.cancelled != nil, !told {
                    told = true
                    report(.notice(Self.noWayBack))
                }
                if let reason = control.expired ?? stalled { throw .leftInPostcopy(reason) }
            case .starting, .active, .switchover, .cancelling, nil:
                if let reason = control.stop ?? stalled { throw .stopped(reason) }
                // Once post-copy has been asked for only the source can tell whether the guest has moved.
                if !postcopyRequested, let error = destination.client.closed { throw .destination(error) }
                try await beginPostcopyIfDue(info)
            }
            await wake.wait(upTo: Self.interval)
        }
    }

    /// Lets the guest move before its memory, once enough passes are done.
    private func beginPostcopyIfDue(_ info: MigrationInfo) async throws(MigrationFault) {
        guard let postcopy = plan.postcopy, !postcopyRequested, info.status == .active else { return }
        // The count is that of passes begun.
        guard (info.ram?.dirtySyncCount ?? 0) > postcopy.afterPasses else { return }
        try await beginPostcopy()
    }

    private func beginPostcopy() async throws(MigrationFault) {
        let (source, destination) = ends
        // The destination starts the guest by itself in post-copy: waiting for us would only lengthen the pause.
        if wasRunning {
            destinationReleased = true
            try await destination.tell("cont")
        }
        postcopyRequested = true
        try await source.tell("migrate-start-postcopy")
    }

    private func show(_ info: MigrationInfo, _ meter: inout RateMeter) {
        let stage: MigrationStage
        switch info.status {
        case .active: stage = .precopy
        case .switchover: stage = .switchover
        case .postcopy: stage = .postcopy
        default: return
        }
        enter(stage)
        guard let ram = info.ram, let total = ram.total, let transferred = ram.transferred else { return }
        let elapsed = (launched ?? .now).duration(to: .now).inSeconds
        meter.note(transferred, at: elapsed)
        let dirtyRate = Double((ram.dirtyPagesRate ?? 0) * (ram.pageSize ?? 4096))
        let remaining = ram.remaining ?? 0
        let gain = stage == .precopy ? meter.rate - dirtyRate : meter.rate
        report(
            .progress(
                MigrationProgress(
                    stage: stage, transferred: transferred, remaining: remaining, total: total, rate: meter.rate,
                    dirtyRate: dirtyRate, pass: max(ram.dirtySyncCount ?? 1, 1), elapsed: elapsed,
                    eta: gain > 0 ? Double(remaining) / gain : nil)))
    }
}

/// Tells when a migration has moved nothing for too long.
struct StallWatch {
    let limit: Duration
    private var moved: ContinuousClock.Instant
    private var last = MigrationInfo()

    init(limit: Duration, now: ContinuousClock.Instant) {
        self.limit = limit
        moved = now
    }

    /// A clause that says so, if nothing has moved for the limit.
    mutating func isStalled(at info: MigrationInfo, now: ContinuousClock.Instant) -> String? {
        if info.status != last.status || info.ram?.transferred != last.ram?.transferred { moved = now }
        last = info
        return now - moved < limit ? nil : "no byte has moved for \(HumanText.time(limit))"
    }
}
