import CulvertTestSupport
import Foundation
import Testing

@testable import CulvertHypervisor

/// What the command makes of what virsh says. With real libvirt daemons it is tested in CulvertLibvirtTests.
@Suite(.timeLimit(.minutes(2)))
struct LibvirtMigrationTests {
    private let reports = Reports()

    private func tunnel(_ virsh: FakeVirsh) -> DirectTunnel {
        DirectTunnel(directory: virsh.directory, services: ["libvirt": virsh.directory("libvirt.sock")])
    }

    private func plan(_ virsh: FakeVirsh) -> LibvirtPlan {
        var plan = LibvirtPlan(domain: "web1", peer: DirectTunnel.peer)
        plan.virsh = virsh.path
        plan.name = "m1"
        plan.timeout = .seconds(60)
        return plan
    }

    private func migration(_ virsh: FakeVirsh, _ plan: LibvirtPlan? = nil) -> (LibvirtMigration, DirectTunnel) {
        let tunnel = tunnel(virsh)
        return (LibvirtMigration(plan: plan ?? self.plan(virsh), tunnel: tunnel, report: reports.callAsFunction), tunnel)
    }

    private func failure(_ virsh: FakeVirsh, _ plan: LibvirtPlan? = nil) async throws -> MigrationError {
        let (migration, tunnel) = migration(virsh, plan)
        return try await failure(of: migration, tunnel)
    }

    private func failure(of migration: LibvirtMigration, _ tunnel: DirectTunnel) async throws -> MigrationError {
        do throws(MigrationError) {
            _ = try await migration.run()
        } catch {
            #expect(reports.all.last == .failure(error))
            #expect(tunnel.openForwards.isEmpty)
            return error
        }
        throw TimedOut(description: "a migration that should have failed has succeeded")
    }

    // MARK: Success

    @Test func tellsHowItGoesAndWhatCameOfIt() async throws {
        let virsh = try FakeVirsh(
            migrate: """
                until [ -e go ]; do sleep 0.02; done
                rm source.state
                echo 'running (migrated)' | put destination.state
                printf 'Job type: 3\\n\\ndowntime: 41\\ndata_processed: 70000000\\nmemory_iteration: 3\\n' | put destination.job
                """)
        try virsh.write("source.job", FakeVirsh.job(transferred: 34_000_000, remaining: 34_165_632, pass: 2))
        let (migration, tunnel) = migration(virsh)
        async let done = migration.run()
        try await waitUntil("progress is shown") { reports.transferred() == 34_000_000 }
        try virsh.write("go", "")
        let summary = try await done
        #expect(summary.bytes == 70_000_000)
        #expect(summary.downtime == 0.041)
        #expect(summary.passes == 3)
        #expect(summary.destinationState == "running")
        #expect(summary.sourceState == "gone")
        #expect(reports.stages == [.connecting, .preparing, .precopy, .verifying])
        #expect(reports.all.last == .summary(summary))
        #expect(tunnel.openForwards.isEmpty)
        let call = try #require(virsh.calls.first { $0.hasPrefix("migrate ") })
        #expect(call.hasPrefix("migrate --live --domain web1 --desturi qemu+unix:///system?socket=\(virsh.directory.path)/"))
        #expect(call.hasSuffix("--migrateuri unix://\(virsh.directory("m1.sock"))"))
    }

    @Test func rehearsesEverythingButTheMigration() async throws {
        let virsh = try FakeVirsh(migrate: "exit 1")
        var plan = plan(virsh)
        plan.storage = .all
        let (migration, tunnel) = migration(virsh, plan)
        let commands = try await migration.rehearse()
        #expect(commands.count == 4)
        #expect(commands[1] == "culvert forward add unix:\(virsh.directory("m1.sock")) hostb/migrate/m1")
        #expect(commands[2] == "culvert forward add unix:\(virsh.directory("m1-disks.sock")) hostb/migrate/m1-disks")
        #expect(commands[3].hasPrefix("\(virsh.path) migrate --live --copy-storage-all "))
        #expect(!virsh.calls.contains { $0.hasPrefix("migrate ") })
        #expect(tunnel.openForwards.isEmpty)
    }

    // MARK: Refusals

    @Test func saysWhatLibvirtSays() async throws {
        let virsh = try FakeVirsh(
            migrate: "echo 'error: operation failed: guest CPU does not match' >&2; echo 'error: more' >&2; exit 1")
        let error = try await failure(virsh)
        #expect(error.cause == "operation failed: guest CPU does not match: more")
        #expect(error.guest == .source)
        #expect(error.outcome == "the guest runs on at the source")
    }

    @Test func saysThatThereIsNoSuchGuest() async throws {
        let virsh = try FakeVirsh(migrate: "exit 1")
        var plan = plan(virsh)
        plan.domain = "web2"
        let error = try await failure(virsh, plan)
        #expect(error.cause == "libvirt: failed to get domain 'web2'; `virsh list --all` shows what there is")
        #expect(error.guest == .untouched)
    }

    @Test func saysThatThereIsNoVirsh() async throws {
        let virsh = try FakeVirsh(migrate: "")
        var plan = plan(virsh)
        plan.virsh = virsh.directory("nowhere")
        let error = try await failure(virsh, plan)
        #expect(error.cause == "cannot start \(plan.virsh): No such file or directory; install libvirt's client programs")
    }

    @Test func doesNotBeginWithAGuestThatDoesNotRun() async throws {
        let virsh = try FakeVirsh(migrate: "exit 1")
        try virsh.write("source.state", "shut off (destroyed)")
        let error = try await failure(virsh)
        #expect(error.cause == "'web1' is not running; --offline would copy its definition")
        #expect(error.guest == .untouched)
    }

    @Test func resumesOnlyWhatIsBroken() async throws {
        let virsh = try FakeVirsh(migrate: "exit 1")
        var plan = plan(virsh)
        plan.postcopy = .resume
        let error = try await failure(virsh, plan)
        #expect(
            error.cause == "there is no broken post-copy migration of 'web1' to resume; libvirt calls it running (booted)")
    }

    // MARK: Giving up

    @Test func abortsTheJobWhenItIsCancelled() async throws {
        let virsh = try FakeVirsh(
            migrate: "until [ -e aborted--domain ]; do sleep 0.02; done; echo 'error: operation aborted' >&2; exit 1")
        try virsh.write("source.job", FakeVirsh.job(transferred: 1000, remaining: 1000))
        let (migration, tunnel) = migration(virsh)
        async let failure = failure(of: migration, tunnel)
        try await waitUntil("progress is shown") { reports.transferred() == 1000 }
        try virsh.write("source.job", "Job type: 0\n")
        migration.cancel("it was interrupted")
        let error = try await failure
        #expect(error.description == "migration failed: it was interrupted; the guest runs on at the source")
        #expect(error.guest == .source)
    }

    @Test func waitsNoLongerWhenItIsCancelledTwice() async throws {
        let virsh = try FakeVirsh(migrate: "exec sleep 60")
        try virsh.write("source.job", FakeVirsh.job(transferred: 1000, remaining: 1000))
        let (migration, tunnel) = migration(virsh)
        async let failure = failure(of: migration, tunnel)
        try await waitUntil("progress is shown") { reports.transferred() == 1000 }
        migration.cancel("it was interrupted")
        try await waitUntil("the job is aborted") { virsh.has("aborted--domain") }
        try virsh.write("source.job", "Job type: 0\n")
        migration.cancel("it was interrupted")
        #expect(try await failure.cause == "it was interrupted")
    }

    @Test func stopsBeforeItHasBegun() async throws {
        let virsh = try FakeVirsh(migrate: "exit 1")
        let (migration, tunnel) = migration(virsh)
        migration.cancel("it was interrupted")
        let error = try await failure(of: migration, tunnel)
        #expect(error.cause == "it was interrupted")
        #expect(error.guest == .untouched)
    }

    /// A host may lack processes or descriptors for a moment; where the guest is has to be found out all the same.
    @Test func asksAgainWhereTheGuestIsIfVirshDoesNotStart() async throws {
        let virsh = try FakeVirsh(
            migrate: """
                mv virsh hidden
                (sleep 1; mv hidden virsh) >/dev/null 2>&1 &
                echo 'error: migration was interrupted' >&2; exit 1
                """)
        let (migration, tunnel) = migration(virsh, plan(virsh))
        let error = try await failure(of: migration, tunnel)
        #expect(error.guest == .source)
    }

    @Test func doesNotAbortAGuestThatHasMoved() async throws {
        let virsh = try FakeVirsh(
            migrate: """
                until [ -e 'aborted--postcopy' ]; do sleep 0.02; done
                echo 'paused (post-copy failed)' | put source.state
                printf 'Job type: 0\\n' | put source.job
                echo 'error: migration was interrupted' >&2; exit 1
                """)
        try virsh.write("source.job", FakeVirsh.job(transferred: 1000, remaining: 1000))
        try virsh.write("source.state", "paused (post-copy)")
        var plan = plan(virsh)
        plan.postcopy = .start(afterPasses: 1)
        // Found before the guest moved.
        try virsh.write("source.state", "running (booted)")
        let (migration, tunnel) = migration(virsh, plan)
        async let failure = failure(of: migration, tunnel)
        try await waitUntil("progress is shown") { reports.transferred() == 1000 }
        try virsh.write("source.state", "paused (post-copy)")
        try await waitUntil("post-copy is seen") { reports.stages.last == .postcopy }
        migration.cancel("it was interrupted")
        try await waitUntil("it says that there is no way back") {
            reports.all.contains { if case .notice = $0 { true } else { false } }
        }
        #expect(!virsh.has("aborted--domain"))
        migration.cancel("it was interrupted")
        let error = try await failure
        #expect(error.cause == "it was interrupted")
        #expect(error.guest == .split)
        #expect(error.outcome.contains("--postcopy-resume"))
        #expect(!virsh.has("aborted--domain"))
    }

    @Test func asksForPostcopyAfterSoManyPasses() async throws {
        let virsh = try FakeVirsh(
            migrate: "until [ -e postcopy ]; do sleep 0.02; done; echo 'running (post-copy)' | put destination.state")
        try virsh.write("source.job", FakeVirsh.job(transferred: 1000, remaining: 1000, pass: 2))
        var plan = plan(virsh)
        plan.postcopy = .start(afterPasses: 2)
        let (migration, _) = migration(virsh, plan)
        async let done = migration.run()
        try await waitUntil("progress is shown") { reports.transferred() == 1000 }
        #expect(!virsh.has("postcopy"))
        try virsh.write("source.job", FakeVirsh.job(transferred: 2000, remaining: 1000, pass: 3))
        #expect(try await done.destinationState == "running")
        #expect(virsh.has("postcopy"))
    }

    // MARK: Causes on the way

    @Test func blamesTheWayForWhatLibvirtCannotKnow() async throws {
        let virsh = try FakeVirsh(
            migrate: """
                # As libvirt does: connects to where nobody listens on the far side.
                python3 -c 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)' m1-way.sock
                echo 'error: operation failed: Cannot write to socket: Broken pipe' >&2; exit 1
                """)
        var plan = plan(virsh)
        plan.migrateService = "stream"
        let tunnel = DirectTunnel(
            directory: virsh.directory,
            services: [
                "libvirt": virsh.directory("libvirt.sock"), "stream/m1": virsh.directory("nobody.sock"),
                "culvert/target/stream/m1": "culvert/target/\(virsh.directory("m1-way.sock"))",
            ])
        let error = try await failure(
            of: LibvirtMigration(plan: plan, tunnel: tunnel, report: reports.callAsFunction), tunnel)
        #expect(error.cause.hasPrefix("hostb's relay reset the stream: "))
        #expect(error.details == ["libvirt says: operation failed: Cannot write to socket: Broken pipe"])
    }
}
