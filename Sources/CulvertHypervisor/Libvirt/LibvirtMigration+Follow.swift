import Foundation
import Glibc

/// From the start of virsh until it ends.
extension LibvirtMigration {
    /// Between two looks at the job; each starts a virsh, which costs some 20 ms of processor time.
    private static let interval = Duration.milliseconds(500)
    private static let noWayBack =
        "the guest has moved in post-copy and cannot come back; waiting for the rest of its memory (cancel again to give up)"

    func launch() async throws(LibvirtFault) -> ChildProcess {
        launched = .now
        do throws(VirshError) {
            return try await virsh.start(plan.migrateCommand(route, source: sourceURI))
        } catch {
            throw .source(error)
        }
    }

    func follow(_ migration: ChildProcess) async throws(LibvirtFault) {
        let watcher = Task { [wake] in
            _ = await migration.wait()
            wake.notify()
        }
        defer { watcher.cancel() }
        var meter = RateMeter()
        var abort = Abort()
        var losses = 0
        while migration.outcome == nil {
            let job = await look()
            show(job, &meter)
            // Once it may be a virsh that is just ending.
            losses = await hasLostDestination() ? losses + 1 : 0
            if losses == 2 { control.expire("\(plan.peer)'s libvirt has hung up in the middle of it") }
            if control.stop != nil {
                try await stop(migration, job, &abort)
            } else {
                await beginPostcopyIfDue(job)
            }
            if migration.outcome == nil { await wake.wait(upTo: Self.interval) }
        }
        guard let outcome = migration.outcome, let error = VirshError(outcome) else { return }
        if let reason = control.stop { throw postcopySeen ? .leftInPostcopy(reason) : .stopped(reason) }
        throw .migration(error)
    }

    /// The job as the source's daemon sees it.
    struct Job {
        var statistics: JobStatistics
        var state: DomainState?
    }

    private func look() async -> Job {
        let text = try? await virsh.askAll(
            ["domjobinfo --rawstats \(uuid)", "domstate --reason \(uuid)"], within: .seconds(5))
        return Job(statistics: JobStatistics(text ?? ""), state: text.flatMap(DomainState.init))
    }

    /// virsh would not miss its connection to the destination's daemon before all of the memory is across.
    private func hasLostDestination() async -> Bool {
        guard plan.flow == .direct, !postcopySeen, let endedBefore, let controlForward else { return false }
        guard let outcomes = try? await tunnel.outcomes(of: controlForward) else { return false }
        return outcomes.count > endedBefore
    }

    // MARK: Post-copy

    private func beginPostcopyIfDue(_ job: Job) async {
        // virsh does it itself after one pass, and libvirt refuses it as long as there is nothing to switch.
        guard case .start(let passes) = plan.postcopy, passes != 1, !postcopySeen else { return }
        guard let pass = job.statistics.pass, pass > passes else { return }
        if (try? await virsh.ask(["migrate-postcopy", "--domain", uuid], within: .seconds(10))) != nil { postcopySeen = true }
    }

    // MARK: Giving up

    /// For libvirt to give a migration up.
    private static let abortLimit = Duration.seconds(30)

    private struct Abort {
        var began: ContinuousClock.Instant?
        var interrupted = false
    }

    /// Has libvirt abort the job, again at each look, as there may have been none at the last one.
    private func stop(_ migration: ChildProcess, _ job: Job, _ abort: inout Abort) async throws(LibvirtFault) {
        if postcopySeen {
            try await stopInPostcopy(migration, &abort)
            return
        }
        let began = abort.began ?? .now
        if abort.began != nil, control.isPressing || began.duration(to: .now) > Self.abortLimit {
            // libvirt aborts what its client leaves, unless it is peer to peer.
            migration.signal(SIGKILL)
            _ = await migration.wait()
        } else {
            if abort.began == nil { enter(.recovering) }
            abort.began = began
            _ = try? await virsh.ask(["domjobabort", "--domain", uuid], within: .seconds(5))
        }
    }

    private func stopInPostcopy(_ migration: ChildProcess, _ abort: inout Abort) async throws(LibvirtFault) {
        if abort.began == nil {
            abort.began = .now
            report(.notice(Self.noWayBack))
        }
        guard let reason = control.expired, !abort.interrupted else { return }
        abort.interrupted = true
        guard plan.flow == .direct else {
            migration.signal(SIGKILL)
            throw .leftInPostcopy(reason)
        }
        // Without virsh nobody would finish it, so it is put into a state from which it can be resumed.
        do throws(VirshError) {
            _ = try await virsh.ask(["domjobabort", "--postcopy", "--domain", uuid], within: .seconds(10))
        } catch {
            migration.signal(SIGKILL)
        }
    }

    // MARK: Progress

    private func show(_ job: Job, _ meter: inout RateMeter) {
        if job.state?.isPostcopy == true { postcopySeen = true }
        guard job.statistics.isUnderway else { return }
        if !job.statistics.isEmpty { lastStatistics = job.statistics }
        guard control.stop == nil || postcopySeen else { return }
        let memory = job.statistics.memory
        guard let figures = memory ?? job.statistics.disk else { return }
        let stage: MigrationStage = postcopySeen ? .postcopy : memory == nil ? .storage : .precopy
        if stage != lastStage { meter = RateMeter() }
        enter(stage)
        let elapsed = (launched ?? .now).duration(to: .now).inSeconds
        meter.note(figures.transferred, at: elapsed)
        let dirtyRate = stage == .precopy ? job.statistics.dirtyRate : 0
        // Two looks are needed for a rate of our own.
        let rate = meter.rate > 0 ? meter.rate : figures.rate
        let gain = rate - dirtyRate
        report(
            .progress(
                MigrationProgress(
                    stage: stage, transferred: figures.transferred, remaining: figures.remaining, total: figures.total,
                    rate: rate, dirtyRate: dirtyRate, pass: max(job.statistics.pass ?? 1, 1), elapsed: elapsed,
                    eta: gain > 0 ? Double(figures.remaining) / gain : nil)))
    }
}
