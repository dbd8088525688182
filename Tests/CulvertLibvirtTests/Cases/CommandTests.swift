import CulvertTestSupport
import Foundation
import Glibc
import Testing

extension LibvirtTests {
    /// What `culvert migrate libvirt` does beyond what virsh does, on real daemons. Every way of virsh's goes by it too: see
    /// `Driver.culvert`.
    struct CommandTests {
        private func start(_ guest: LibvirtGuest, _ options: String...) throws -> ChildProcess {
            try guest.from.start(["culvert", "migrate", "libvirt", guest.name, guest.to.name] + options)
        }

        /// Forwards and socket files that a migration had made on a host.
        private func made(on host: LabHost) throws -> [String] {
            let forwards = try host.status.forwards.filter { $0.origin == "admin" }.map(\.listen)
            let files = try FileManager.default.contentsOfDirectory(atPath: host.path("/run/culvert"))
                .filter { $0.hasPrefix("migration-") }
            return forwards + files
        }

        private func expectNothingMade(on host: LabHost) throws {
            #expect(try made(on: host).isEmpty)
        }

        @Test func reportsWhatLibvirtCounts() async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--pause", "1000")
            let output = try await start(guest, "--json", "--bandwidth", "4MiB/s", "--timeout", "60s").succeed(limit: .seconds(90))
            let lines = output.split(separator: "\n").map(String.init)
            #expect(lines.first == #"{"event":"stage","stage":"connecting"}"#)
            #expect(lines.contains { $0.contains(#""event":"progress""#) && $0.contains(#""stage":"precopy""#) })
            let summary = try #require(lines.last)
            #expect(summary.contains(#""event":"summary""#) && summary.contains(#""destinationState":"running""#))
            #expect(summary.contains(#""sourceState":"gone""#) && summary.contains(#""downtime":"#))
            let bytes = try #require(summary.firstMatch(of: /"bytes":(\d+)/).flatMap { Int($0.1) })
            #expect(bytes > LibvirtGuest.worked)
            try await guest.expectMoved()
            try expectNothingMade(on: guest.from)
            try await guest.remove()
        }

        /// Whoever ends the command: it has the job aborted, and takes away what it made.
        @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func leavesTheGuestAtTheSource(signal: Int32) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let process = try start(guest, "--bandwidth", "4MiB/s")
            try await Migration(process: process, guest: guest).waitUntilUnderWay()
            try #expect(!made(on: guest.from).isEmpty)
            // The process here is one that has entered the host; the command's number is another there.
            try await guest.from.run("sh", "-c", "kill -\(signal) $(pgrep -f '^culvert migrate libvirt')")
            #expect(try await process.waitForExit() == .code(1))
            #expect(process.output.hasSuffix("; the guest runs on at the source\n"), "\(process.output)")
            try await guest.expectStayed()
            try expectNothingMade(on: guest.from)
            try await guest.remove()
        }

        @Test func leavesTheGuestAtTheSourceWhenItsTimeIsUp() async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let process = try start(guest, "--bandwidth", "4MiB/s", "--timeout", "15s")
            #expect(try await process.waitForExit(limit: .seconds(60)) == .code(1))
            #expect(process.output.contains("migration failed: it is not done after 15 s; the guest runs on at the source"))
            try await guest.expectStayed()
            try await guest.remove()
        }

        @Test func printsCommandsThatDoTheSame() async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--disk", "qcow2")
            let commands = try await start(guest, "--dry-run", "--p2p", "--copy-storage", "all").succeed()
            try expectNothingMade(on: guest.from)
            #expect(commands.split(separator: "\n").count == 4)
            try await guest.from.run("sh", "-ec", commands)
            try await guest.expectMoved()
            try await guest.from.closeForwards()
            try await guest.remove()
        }

        @Test func switchesAfterAsManyPassesAsItIsTold() async throws {
            // It changes its memory faster than it is sent.
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let output = try await start(guest, "--postcopy", "--postcopy-after", "2", "--bandwidth", "12MiB/s", "--", "--postcopy-bandwidth", "6")
                .succeed(limit: .seconds(90))
            #expect(output.contains("passes and post-copy"))
            try await guest.expectMoved()
            try await guest.remove()
        }

        /// virsh itself misses its destination only when all of the memory is across.
        @Test func noticesThatTheDestinationHasHungUp() async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let process = try start(guest, "--bandwidth", "1MiB/s")
            try await Migration(process: process, guest: guest).waitUntilUnderWay()
            try await guest.to.service("kill", .libvirtd)
            #expect(try await process.waitForExit(limit: .seconds(60)) == .code(1))
            try await guest.to.service("start", .libvirtd)
            #expect(process.output.contains("hostb's libvirt has hung up in the middle of it; the guest runs on at the source"))
            try await guest.expectStayed()
            try await guest.remove()
        }

        @Test(arguments: [
            (["nobody", "hostb"], "libvirt: failed to get domain 'nobody'; `virsh list --all` shows what there is"),
            (["web1", "hostx"], "no peer 'hostx'; the configuration has hostb, hostc"),
            (["web1", "hostb", "--service", "nothing"], "hostb's relay reset the stream: there is no service 'nothing' here"),
            (["web1", "hostb", "--migrate-service", "nothing"], "there is no service 'nothing' here"),
            (["web1", "hostb", "--admin", "/nowhere"], "no relay answers at /nowhere: No such file or directory"),
            (["web1", "hostb", "--connect", "qemu+unix:///system?socket=/nowhere"], "no libvirt daemon answers here"),
            (["web1", "hostb", "--migrate-service", "migrate-tcp", "--copy-storage", "all"], "memory and disks cannot both go to"),
        ])
        func saysWhatIsWrong(words: [String], complaint: String) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let process = try guest.from.start(["culvert", "migrate", "libvirt"] + words)
            #expect(try await process.waitForExit() == .code(1))
            #expect(process.output.contains(complaint), "\(process.output)")
            #expect(process.output.hasSuffix("; nothing was begun and the guest is as it was\n"))
            try await guest.expectStayed()
            try expectNothingMade(on: guest.from)
            try await guest.remove()
        }
    }
}
