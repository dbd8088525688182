import CulvertTestSupport
import Foundation
import Glibc
import Testing

/// Real QEMUs over real relays, one scene at a time: emulated guests need the processors for themselves.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct MigrationMatrixTests {
    /// Slow enough to be disturbed on the way: the first pass takes a quarter of a minute.
    private static let slowly = ["--bandwidth", "4MiB/s"]

    private func expectNothingLeft(_ road: Road) async throws {
        try await waitUntil(
            limit: .seconds(60), "nothing is left: \((try? road.hosta.leftovers()) ?? []) \((try? road.hostb.leftovers()) ?? [])"
        ) {
            try road.hosta.leftovers().isEmpty && road.hostb.leftovers().isEmpty
        }
    }

    // MARK: Success

    /// Slow enough for post-copy to be asked for before the small guest is across without it; the first pass takes
    /// seconds, and what post-copy sends itself is not held back.
    private static let postcopy = ["--postcopy", "--bandwidth", "8MiB/s", "--downtime", "1ms"]

    /// Precopy comes to an end when the whole memory, all of which the guest changes again and again, is across within the
    /// pause: with that of QEMU's own choice, a busy machine may never get there.
    private static func ending(_ options: [String]) -> [String] {
        options.contains("--downtime") ? options : options + ["--downtime", "3s"]
    }

    @Test(arguments: [
        [], ["--multifd", "4"], postcopy, postcopy + ["--postcopy-preempt"],
        ["--postcopy", "--postcopy-after", "1", "--bandwidth", "40MiB/s", "--downtime", "1ms"],
        ["--exec"], ["--exec"] + postcopy,
        ["--listen", "tcp:127.0.0.1:0"], ["--listen", "tcp:127.0.0.1:0", "--multifd", "4"],
    ])
    func moves(options: [String]) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let summary = try await guest.migrate(Self.ending(options)).summary()
        try await guest.expectMoved()
        #expect(summary.sourceState == "postmigrate")
        #expect(summary.destinationState == "running")
        #expect(summary.postcopy == options.contains("--postcopy"))
        try await expectNothingLeft(road)
    }

    @Test(arguments: [[], ["--multifd", "4"], postcopy]) func movesOverTCPOnly(options: [String]) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let legs = [
            "--stream", "hostb/stream", "--incoming", "tcp:127.0.0.1:\(road.tcpPort)", "--listen", "tcp:127.0.0.1:0",
        ]
        _ = try await guest.migrate(legs + Self.ending(options)).summary()
        try await guest.expectMoved()
        try await expectNothingLeft(road)
    }

    @Test func movesBackAgain() async throws {
        let road = try await Road.open()
        let there = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        _ = try await there.migrate(Self.ending(["--quit-source"])).summary()
        try await there.expectMoved()
        let back = try await there.returning("web1-back")
        _ = try await back.migrate(Self.ending([])).summary()
        try await back.expectMoved()
    }

    @Test func movesEightGuestsAtOnceThroughOnePort() async throws {
        let road = try await Road.open()
        let guests = try await withThrowingTaskGroup(of: Traveller.self) { group in
            for number in 0..<8 {
                let (from, to) = number % 2 == 0 ? (road.hosta, road.hostb) : (road.hostb, road.hosta)
                group.addTask { try await Traveller.start("web\(number)", from: from, to: to, worked: 16, pause: 300, limit: .seconds(120)) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        // So slow that none comes to an end before all are on the way.
        let commands = try guests.map { try $0.migrate(Self.ending(["--bandwidth", "2MiB/s"])) }
        for command in commands { try await command.waitForBytes(1 << 20) }
        #expect(commands.allSatisfy { $0.process.exit == nil })
        let sessions = try road.hosta.status.peers.flatMap(\.sessions)
        #expect(sessions.count == 1 && sessions[0].lanes.count == 1)
        #expect(sessions[0].streams.count >= 16)
        for guest in guests { try guest.tell("migrate_set_parameter max-bandwidth 1G") }
        for command in commands { _ = try await command.summary() }
        for guest in guests { try await guest.expectMoved() }
        try await expectNothingLeft(road)
    }

    // MARK: Failure on the way

    /// Starts a slow migration, disturbs it once some of the guest is on the way, and returns how the command ends.
    private func failure(
        _ guest: Traveller, _ options: [String] = slowly, after disturb: (MigrateCommand) async throws -> Void
    ) async throws -> MigrateCommand.Event {
        let command = try guest.migrate(options)
        try await command.waitForBytes(1 << 20)
        try await disturb(command)
        return try await command.failure()
    }

    @Test(arguments: [
        (SIGINT, "it was interrupted"), (SIGTERM, "it was terminated"), (SIGHUP, "its terminal was lost"),
    ])
    func cancels(signal: Int32, cause: String) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await failure(guest) { $0.process.signal(signal) }
        #expect(error.text == "migration failed: \(cause); the guest runs on at the source")
        try await guest.expectStayed()
        // The destination QEMU ends with its stream and leaves its socket's file.
        try await expectNothingLeft(road)
    }

    @Test func runsOutOfTime() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await failure(guest, Self.slowly + ["--timeout", "15s"]) { _ in }
        #expect(error.text == "migration failed: it is not done after 15 s; the guest runs on at the source")
        try await guest.expectStayed()
    }

    @Test(arguments: [[], ["--multifd", "4"], ["--exec"]]) func survivesTheDestination(options: [String]) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await failure(guest, Self.slowly + options) { _ in guest.destination.kill() }
        let text = try #require(error.text)
        #expect(text.contains("the destination QEMU (hostb/qmp/web1) closed its QMP connection"), "\(text)")
        #expect(text.contains("if it has ended, its own output says why"), "\(text)")
        try await expectNothingLeft(road)
        #expect(error.guest == "source")
        try await guest.expectStayed()
    }

    @Test func reportsThatTheSourceIsGone() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await failure(guest) { _ in guest.source.kill() }
        #expect(
            error.text
                == "migration failed: the source QEMU (unix:\(guest.source.qmpPath)) closed its QMP connection; "
                + "the source QEMU cannot be asked; if it has ended, the guest has ended with it")
        #expect(error.guest == "unknown")
    }

    @Test(arguments: [[], ["--multifd", "4"], ["--exec"]]) func survivesTheFarRelay(options: [String]) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await failure(guest, Self.slowly + options) { _ in road.hostb.relay.kill() }
        #expect(error.cause?.hasPrefix("the local relay reset the stream to hostb: ") == true, "\(error)")
        #expect(error.guest == "source")
        try await guest.expectStayed()
    }

    @Test(arguments: [[], ["--multifd", "4"], ["--exec"]]) func survivesTheLocalRelay(options: [String]) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await failure(guest, Self.slowly + options) { _ in road.hosta.relay.kill() }
        #expect(error.cause?.hasPrefix("the local relay does not answer any more: ") == true, "\(error)")
        #expect(error.guest == "source")
        try await guest.expectStayed()
    }

    @Test func saysThatTheGuestIsSplit() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb, idle: 64)
        let command = try guest.migrate(Self.slowly + ["--postcopy"])
        // At the very start of post-copy QEMU can still go back.
        try await command.waitForBytes(2 << 20, in: "postcopy")
        road.hostb.relay.kill()
        let error = try await command.failure()
        #expect(error.guest == "split")
        #expect(error.cause?.hasPrefix("the local relay reset the stream to hostb: ") == true, "\(error)")
        #expect(error.text?.contains("migrate-recover") == true)
    }

    // MARK: Failure before it begins

    @Test(arguments: [
        ("hostc/qmp/web1", "no peer 'hostc'; the configuration has hostb"),
        ("hostb/absent", "hostb's relay reset the stream: there is no service 'absent' here"),
        ("hostb/qmp", "hostb's relay reset the stream: the service 'qmp' needs a name; ask for 'qmp/NAME'"),
        ("hostb/qmp/..", "to: 'hostb/qmp/..': NAME has 1 to 64 letters, digits, '-' or '_'"),
    ])
    func namesWhatIsWrongWithTheDestination(destination: String, cause: String) async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let command = try MigrateCommand(
            ["--source", "unix:\(guest.source.qmpPath)", "--destination", destination], on: road.hosta)
        let error = try await command.failure()
        #expect(error.cause == cause)
        #expect(error.guest == "untouched")
        try await guest.expectStayed()
        try await expectNothingLeft(road)
    }

    @Test func tellsThatNoQEMUIsThere() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        guest.destination.kill()
        let error = try await guest.migrate().failure()
        #expect(
            error.cause
                == "hostb's relay reset the stream: connect to unix:\(guest.destination.qmpPath): Connection refused [ECONNREFUSED]")
    }

    @Test func namesAMissingMigrationService() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        let error = try await guest.migrate(["--migrate-service", "absent", "--name", "web1"]).failure()
        #expect(error.cause == "hostb's relay does not tell where 'absent/web1' leads: there is no service 'absent' here")
        try await guest.expectStayed()
    }

    @Test func needsADestinationThatWaits() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb, incoming: false)
        let error = try await guest.migrate().failure()
        #expect(error.cause == "the destination QEMU is in state 'running' and expects no guest; start it with -incoming defer")
    }

    @Test func needsARelay() async throws {
        let road = try await Road.open()
        let guest = try await Traveller.start("web1", from: road.hosta, to: road.hostb)
        road.hosta.relay.kill()
        let error = try await guest.migrate().failure()
        #expect(
            error.cause
                == "no relay answers at \(road.hosta.directory("admin.sock")): Connection refused; is `culvert serve` running? "
                + "name its socket with --admin")
        try await guest.expectStayed()
    }
}
