import CulvertTestSupport
import Foundation
import Testing

@testable import CulvertHypervisor

/// Real QEMU pairs, one at a time: emulated guests need the processors for themselves.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct MigrationTests {
    private let reports = Reports()

    /// The error that a migration ends with.
    private func failure(of migration: QEMUMigration) async throws -> MigrationError {
        do throws(MigrationError) {
            _ = try await migration.run()
        } catch {
            #expect(reports.all.last == .failure(error))
            return error
        }
        throw TimedOut(description: "a migration that should have failed has succeeded")
    }

    private func migration(_ pair: Pair, _ plan: MigrationPlan) -> QEMUMigration {
        QEMUMigration(plan: plan, tunnel: pair.tunnel, report: reports.callAsFunction)
    }

    /// Runs `disturb` once some of the guest is on the way, and returns how the migration fails.
    private func failure(
        of pair: Pair, _ plan: MigrationPlan? = nil, after disturb: (QEMUMigration) async throws -> Void
    ) async throws -> MigrationError {
        let migration = migration(pair, plan ?? pair.slowPlan)
        async let failure = failure(of: migration)
        try await waitUntil("some of the guest is on the way") { reports.transferred() > 1 << 20 }
        try await disturb(migration)
        return try await failure
    }

    // MARK: Success

    @Test func movesARunningGuest() async throws {
        let pair = try await Pair.start()
        let summary = try await migration(pair, pair.plan).run()
        try await pair.expectMoved()
        #expect(summary.sourceState == "postmigrate")
        #expect(summary.destinationState == "running")
        #expect(summary.bytes > UInt64(Pair.worked - 1) << 20)
        #expect(summary.passes >= 1)
        #expect(!summary.postcopy)
        #expect((summary.pause ?? 0) > 0)
        #expect(reports.stages.first == .connecting)
        #expect(reports.stages.last == .verifying)
        #expect(reports.all.last == .summary(summary))
    }

    @Test func movesAPausedGuestPaused() async throws {
        let pair = try await Pair.start()
        let monitor = try await QMPClient.connect(to: pair.source.qmpPath)
        try await monitor.execute("stop")
        monitor.close()
        let summary = try await migration(pair, pair.plan).run()
        #expect(summary.destinationState == "paused")
        #expect(pair.destination.guest.passes == 0)
        let there = try await QMPClient.connect(to: pair.destination.qmpPath)
        try await there.execute("cont")
        try await pair.expectMoved()
    }

    @Test func movesThroughFourChannels() async throws {
        let pair = try await Pair.start()
        var plan = pair.plan
        plan.multifd = 4
        plan.quitSource = true
        let summary = try await migration(pair, plan).run()
        try await pair.expectMoved()
        #expect(summary.sourceQuit)
        #expect(try await pair.source.process.waitForExit() == .code(0))
    }

    @Test(arguments: [MigrationPlan.Postcopy(), .init(preempt: true), .init(afterPasses: 1)])
    func movesInPostcopy(_ postcopy: MigrationPlan.Postcopy) async throws {
        let pair = try await Pair.start()
        var plan = pair.plan
        plan.postcopy = postcopy
        // Slow enough not to be done before it is asked for, and never able to end in precopy.
        plan.bandwidth = 40 << 20
        plan.downtime = .milliseconds(1)
        let summary = try await migration(pair, plan).run()
        try await pair.expectMoved()
        #expect(summary.postcopy)
        #expect(summary.passes > postcopy.afterPasses)
        #expect(reports.stages.contains(.postcopy))
    }

    // MARK: Failure on the way

    @Test func cancels() async throws {
        let pair = try await Pair.start()
        let error = try await failure(of: pair) { $0.cancel("it was interrupted") }
        #expect(error.cause == "it was interrupted")
        #expect(error.guest == .source)
        try await pair.expectStayed()
    }

    @Test func runsOutOfTime() async throws {
        let pair = try await Pair.start()
        var plan = pair.slowPlan
        plan.timeout = .seconds(10)
        let error = try await failure(of: pair, plan) { _ in }
        #expect(error.description == "migration failed: it is not done after 10 s; the guest runs on at the source")
        try await pair.expectStayed()
    }

    @Test(arguments: [nil, 4]) func survivesTheDestination(channels: Int?) async throws {
        let pair = try await Pair.start()
        var plan = pair.slowPlan
        plan.multifd = channels
        let error = try await failure(of: pair, plan) { _ in pair.destination.kill() }
        // Whether the relay sees a reset or two orderly ends first is up to the moment; either way it is told who has gone.
        #expect("\(error)".contains("the destination QEMU (hostb/qmp) closed its QMP connection"), "\(error)")
        #expect("\(error)".contains("its own output says why"))
        #expect(error.guest == .source)
        try await pair.expectStayed()
    }

    @Test func survivesALostSession() async throws {
        let pair = try await Pair.start()
        let error = try await failure(of: pair) { _ in pair.tunnel.cut("no sign of life from hostb for 15 s") }
        #expect(error.cause == "the local relay reset the stream to hostb: no sign of life from hostb for 15 s")
        #expect(error.guest == .source)
        try await pair.expectStayed()
    }

    @Test func survivesTheLocalRelay() async throws {
        let pair = try await Pair.start()
        let error = try await failure(of: pair) { _ in
            pair.tunnel.silence()
            pair.tunnel.cut("")
        }
        #expect(error.cause == "the local relay does not answer any more: the relay does not answer")
        #expect(error.guest == .source)
        try await pair.expectStayed()
    }

    @Test func reportsThatTheSourceIsGone() async throws {
        let pair = try await Pair.start()
        let error = try await failure(of: pair) { _ in pair.source.kill() }
        #expect(error.cause == "the source QEMU (unix:\(pair.source.qmpPath)) closed its QMP connection")
        #expect(error.guest == .unknown)
        #expect(error.outcome == "the source QEMU cannot be asked; if it has ended, the guest has ended with it")
        #expect(pair.tunnel.openForwards.isEmpty)
    }

    @Test func doesNotCancelInPostcopy() async throws {
        let pair = try await Pair.start(idle: 64)
        var plan = pair.plan
        plan.postcopy = .init()
        plan.bandwidth = 8 << 20
        let migration = migration(pair, plan)
        async let summary = migration.run()
        try await waitUntil("post-copy") { reports.stages.contains(.postcopy) }
        migration.cancel("it was interrupted")
        #expect(try await summary.destinationState == "running")
        #expect(reports.all.contains(.notice(QEMUMigration.noWayBack)))
        try await pair.expectMoved()
    }

    @Test func saysThatTheGuestIsSplit() async throws {
        let pair = try await Pair.start(idle: 64)
        var plan = pair.plan
        plan.postcopy = .init()
        plan.bandwidth = 4 << 20
        let migration = migration(pair, plan)
        async let failure = failure(of: migration)
        // At the very start of post-copy QEMU can still go back.
        try await waitUntil("memory follows the guest") { reports.transferred(in: .postcopy) > 2 << 20 }
        pair.tunnel.cut("the session with hostb was lost")
        let error = try await failure
        #expect(error.cause == "the local relay reset the stream to hostb: the session with hostb was lost")
        #expect(error.guest == .split)
        #expect(error.outcome.contains("migrate-recover"))
    }

    // MARK: Failure before it begins

    @Test func needsADestinationThatWaits() async throws {
        let pair = try await Pair.start(incoming: false)
        let error = try await failure(of: migration(pair, pair.plan))
        #expect(
            error.description
                == "migration failed: the destination QEMU is in state 'running' and expects no guest; start it with -incoming defer; "
                + "nothing was begun and the guest is as it was")
        #expect(error.guest == .untouched)
    }

    @Test func needsEqualMemory() async throws {
        let pair = try await Pair.start(destinationMemory: 72)
        let error = try await failure(of: migration(pair, pair.plan))
        #expect(error.cause == "the two QEMUs differ in memory size: 64 MiB at the source, 72 MiB at the destination")
        try await pair.expectStayed()
    }

    @Test func tellsWhereTheDestinationCannotListen() async throws {
        let pair = try await Pair.start()
        var plan = pair.plan
        let incoming = "unix:\(pair.directory("absent/x.sock"))"
        plan.route = .fixed(to: "hostb/migrate/x", incoming: incoming)
        let error = try await failure(of: migration(pair, plan))
        #expect(error.cause.hasPrefix("the destination QEMU cannot listen at \(incoming): "))
        #expect(error.cause.contains("No such file or directory"))
        try await pair.expectStayed()
    }

    @Test func tellsThatTheFarMonitorIsAbsent() async throws {
        let pair = try await Pair.start()
        pair.destination.kill()
        let error = try await failure(of: migration(pair, pair.plan))
        #expect(error.cause.hasPrefix("hostb's relay reset the stream: connect "), "\(error)")
        #expect(error.cause.contains("Connection refused"))
        try await pair.expectStayed()
    }

    @Test func tellsThatNothingListensForTheStream() async throws {
        let pair = try await Pair.start()
        var plan = pair.plan
        // The stream goes elsewhere than to where the destination listens.
        plan.route = .fixed(to: "hostb/migrate/elsewhere", incoming: "unix:\(pair.directory("here.sock"))")
        let error = try await failure(of: migration(pair, plan))
        #expect(error.cause.contains("No such file or directory"), "\(error)")
        #expect(error.guest == .source)
        try await pair.expectStayed()
    }
}
