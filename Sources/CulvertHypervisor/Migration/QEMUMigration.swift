import Foundation
import Synchronization

/// One live migration between two QEMUs, the far one reached through a tunnel.
///
/// Whatever happens, at most one of the two QEMUs runs the guest. The destination is told not to start it when it
/// arrives; it is started there once the source has let go of it for good, and until that moment the guest can always go
/// on at the source. (In post-copy the guest moves before its memory, and from then on there is no way back.)
public actor QEMUMigration {
    /// What events told: when the guest stopped at the source and went on at the destination, and whether by post-copy.
    struct Sightings {
        var stopped: ContinuousClock.Instant?
        var resumed: ContinuousClock.Instant?
        var postcopy = false
    }

    nonisolated let plan: MigrationPlan
    nonisolated let tunnel: any Tunnel
    nonisolated let report: @Sendable (MigrationEvent) -> Void
    nonisolated let control = MigrationControl()
    nonisolated let wake = WakeUp()
    nonisolated let forwards: ForwardKeeper
    nonisolated let sightings = Mutex(Sightings())

    var source: MigrationEnd?
    var destination: MigrationEnd?
    var controlForward: TunnelForward?
    var streamForward: TunnelForward?
    var name: String
    /// Whether the guest ran when it was found; it is left in that state.
    var wasRunning = true
    /// Where the source QEMU sends to, once that is known.
    var streamURI: String?
    /// When the source was told to migrate.
    var launched: ContinuousClock.Instant?
    var postcopyRequested = false
    /// The destination was told to run the guest, so the source must never run it again unless the destination denies it.
    var destinationReleased = false
    var lastStage: MigrationStage?
    var lastInfo = MigrationInfo()

    /// `report` is called from the migration's task, in order, and must not block for long.
    public init(plan: MigrationPlan, tunnel: any Tunnel, report: @escaping @Sendable (MigrationEvent) -> Void) {
        self.plan = plan
        self.tunnel = tunnel
        self.report = report
        forwards = ForwardKeeper(tunnel: tunnel)
        name = plan.name ?? MigrationName.fresh()
    }

    /// Asks the migration to stop and leave the guest at the source; `reason` is a clause such as `it was interrupted`.
    /// In post-copy it cannot, says so and goes on; asked again, it leaves the two QEMUs to finish by themselves.
    public nonisolated func cancel(_ reason: String) { control.cancel(reason) }

    /// Migrates. To be called once. Whether it succeeds or fails, what it opened is closed when it returns.
    public func run() async throws(MigrationError) -> MigrationSummary {
        let timer = control.expire(after: plan.timeout)
        defer { timer?.cancel() }
        let result: Result<MigrationSummary, MigrationError>
        do throws(MigrationFault) {
            try await control.untilStopped(error: MigrationFault.stopped) { () async throws(MigrationFault) in
                try await self.connect()
                try await self.prepare()
                try await self.launch()
            }
            control.onStop { [wake] in wake.notify() }
            try await follow()
            result = .success(try await finish())
        } catch {
            result = .failure(await recover(from: error))
        }
        await tidyUp(failed: (try? result.get()) == nil)
        switch result {
        case .success(let summary): report(.summary(summary))
        case .failure(let error): report(.failure(error))
        }
        return try result.get()
    }

    /// Both QEMUs, once they are connected.
    var ends: (source: MigrationEnd, destination: MigrationEnd) {
        guard let source, let destination else { preconditionFailure("used before it was connected") }
        return (source, destination)
    }

    func enter(_ stage: MigrationStage) {
        guard stage != lastStage else { return }
        lastStage = stage
        report(.stage(stage))
    }

    /// What a QEMU announces unasked. Events only hasten the next look at it, so a lost one does no harm.
    nonisolated func take(_ news: QMPClient.News, from side: MigrationEnd.Side) {
        if case .event(let event) = news {
            sightings.withLock { sightings in
                switch (event.name, side) {
                case ("STOP", .source): sightings.stopped = .now
                case ("RESUME", .destination): sightings.resumed = sightings.resumed ?? .now
                case ("MIGRATION", .source) where event.data(as: MigrationInfo.self)?.status == .postcopy:
                    sightings.postcopy = true
                default: break
                }
            }
        }
        wake.notify()
    }

    private func tidyUp(failed: Bool) async {
        if failed, plan.quitDestination, !destinationReleased { try? await destination?.tell("quit", within: .seconds(5)) }
        source?.client.close()
        destination?.client.close()
        await forwards.closeAll()
    }
}
