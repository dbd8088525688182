import CulvertHypervisor
import CulvertTestSupport
import Synchronization
import Testing

/// The moments in which a guest could be lost or doubled, which real QEMUs pass too fast to be disturbed in.
struct SwitchoverTests {
    private func failure(_ migration: QEMUMigration) async -> MigrationError? {
        do throws(MigrationError) {
            _ = try await migration.run()
            return nil
        } catch {
            return error
        }
    }

    @Test func startsTheGuestOnlyWhenTheSourceHasLetGo() async throws {
        let pair = try FakePair()
        let summary = try await pair.migration().run()
        #expect(summary.destinationState == "running")
        #expect(summary.sourceState == "postmigrate")
        let told = pair.destination.commands.filter { ["stop", "migrate-incoming", "cont"].contains($0) }
        #expect(told == ["stop", "migrate-incoming", "cont"])
    }

    @Test func tellsTheStateThatTheSourceComesTo() async throws {
        let pair = try FakePair { $0.lingers = 3 }
        #expect(try await pair.migration().run().sourceState == "postmigrate")
        #expect(pair.state.lingers == 0)
    }

    @Test func returnsToTheSourceIfTheDestinationCannotStart() async throws {
        let pair = try FakePair { $0.cont = (false, .error(class: "GenericError", desc: "Failed to get a write lock")) }
        let error = await failure(pair.migration())
        #expect(error?.cause == "the destination QEMU cannot start the guest: Failed to get a write lock")
        #expect(error?.guest == .source)
        #expect(pair.state.source == "running")
        #expect(pair.state.destination == "paused")
    }

    @Test func returnsToTheSourceIfTheDestinationIsLostBeforeItWasToldToStart() async throws {
        let pair = try FakePair { $0.afterArrival = .close }
        let error = await failure(pair.migration())
        #expect(error?.guest == .source)
        #expect(pair.state.source == "running")
        #expect(!pair.destination.commands.contains("cont"))
    }

    @Test func asksAgainIfTheReplyToTheStartIsLost() async throws {
        let pair = try FakePair { $0.cont = (true, .close) }
        let summary = try await pair.migration().run()
        #expect(summary.destinationState == "running")
        #expect(pair.destination.commands.filter { $0 == "cont" }.count == 1)
    }

    @Test func putsAGuestBackThatDidNotGoOnByItself() async throws {
        let pair = try FakePair { $0.outcome = ("failed", "paused", "inmigrate") }
        let error = await failure(pair.migration())
        #expect(error?.description == "migration failed: QEMU gives no reason; the guest runs on at the source")
        #expect(pair.state.source == "running")
    }

    @Test func stopsADestinationThatRunsAGuestWhichTheSourceKeeps() async throws {
        let pair = try FakePair { $0.outcome = ("failed", "running", "running") }
        let error = await failure(pair.migration())
        #expect(error?.guest == .source)
        #expect(pair.state.destination == "paused")
    }

    @Test func cancelsBeforeItBegins() async throws {
        let pair = try FakePair()
        let migration = pair.migration()
        migration.cancel("it was interrupted")
        let error = await failure(migration)
        #expect(error?.description == "migration failed: it was interrupted; nothing was begun and the guest is as it was")
        #expect(!pair.source.commands.contains("migrate"))
        #expect(pair.tunnel.openForwards.isEmpty)
    }

    @Test func givesUpOnAStreamThatStandsStill() async throws {
        let pair = try FakePair { $0.outcome = ("active", "running", "inmigrate") }
        let error = await failure(pair.migration { $0.stallTimeout = .seconds(5) })
        #expect(error?.description == "migration failed: no byte has moved for 5 s; the guest runs on at the source")
        #expect(pair.state.migration == "cancelled")
    }

    @Test func quitsTheDestinationIfAsked() async throws {
        let pair = try FakePair { $0.outcome = ("failed", "running", "inmigrate") }
        _ = await failure(pair.migration { $0.quitDestination = true })
        #expect(pair.destination.commands.last == "quit")
    }

    @Test func leavesPostcopyAloneWhenItsTimeIsUp() async throws {
        let pair = try FakePair { $0.outcome = ("postcopy-active", "finish-migrate", "running") }
        let error = await failure(pair.migration { $0.timeout = .seconds(10) })
        #expect(error?.cause == "it is not done after 10 s")
        #expect(error?.guest == .split)
        #expect(!pair.source.commands.contains("migrate_cancel"))
    }

    @Test func neverStartsAnOldGuestAfterPostcopy() async throws {
        let pair = try FakePair { $0.outcome = ("postcopy-active", "finish-migrate", "running") }
        let migration = pair.migration()
        async let failure = failure(migration)
        try await waitUntil("post-copy") { pair.state.migration == "postcopy-active" }
        try pair.source.say(#"{"event": "MIGRATION", "data": {"status": "postcopy-active"}, "timestamp": {}}"#)
        pair.cancelAtSource()
        let error = await failure
        #expect(error?.cause == "it was cancelled through the source's QMP by somebody else")
        #expect(error?.guest == .stopped)
        #expect(!pair.source.commands.contains("cont"))
    }

    @Test func leavesPostcopyAloneWhenCancelledTwice() async throws {
        let pair = try FakePair { $0.outcome = ("postcopy-active", "finish-migrate", "running") }
        let notices = Mutex(0), isFollowed = Mutex(false)
        let migration = pair.migration { _ in } report: { event in
            switch event {
            case .notice: notices.withLock { $0 += 1 }
            case .stage(.postcopy): isFollowed.withLock { $0 = true }
            default: break
            }
        }
        async let failure = failure(migration)
        // Before that, a wish to stop ends the preparations instead.
        try await waitUntil("the migration is followed") { isFollowed.withLock { $0 } }
        migration.cancel("it was interrupted")
        try await waitUntil("a notice") { notices.withLock { $0 } == 1 }
        migration.cancel("it was interrupted")
        #expect(await failure?.cause == "it was interrupted again")
        #expect(!pair.source.commands.contains("migrate_cancel"))
    }

    @Test(arguments: [
        ("inmigrate", "the source QEMU is in state 'inmigrate'; it must be 'running' or 'paused'"),
        ("postmigrate", "the guest has left the source QEMU already; it is in state 'postmigrate'"),
    ])
    func needsASourceWithAGuest(state: String, cause: String) async throws {
        let pair = try FakePair { $0.source = state }
        #expect(await failure(pair.migration())?.cause == cause)
    }

    @Test func namesACapabilityThatIsMissing() async throws {
        let pair = try FakePair()
        let error = await failure(pair.migration { $0.multifd = 4 })
        #expect(error?.cause == "the source QEMU is version 7.2.1, which has no 'multifd'")
    }
}
