import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// No libvirt daemon takes part: two QEMUs, through the same relays and the same firewall. libvirt itself offers this
    /// flow, `virsh migrate --direct`, for other hypervisors only.
    struct UnmanagedTests {
        struct Pair {
            let source, destination: ChildProcess
            let guests: (source: GuestWatch, destination: GuestWatch)

            /// The human monitor of the source.
            let monitor: StreamSocket

            /// Both have a QMP and a human monitor; the destination waits for the guest.
            static func start(incoming: String) async throws -> Pair {
                let lab = Lab.current
                let guest = try await LibvirtGuest.define("plain", on: lab.hosta)
                try await guest.remove()
                let (source, destination) = (try qemu(lab.hosta, []), try qemu(lab.hostb, ["-incoming", incoming]))
                let guests = (source: serial(lab.hosta), destination: serial(lab.hostb))
                try await guests.source.waitForPasses(2)
                return Pair(
                    source: source, destination: destination, guests: guests,
                    monitor: try StreamSocket.connect(unix: lab.hosta.path("/run/plain.monitor")))
            }

            private static func serial(_ host: LabHost) -> GuestWatch { GuestWatch(serial: host.path("/run/plain.serial")) }

            private static func qemu(_ host: LabHost, _ options: [String]) throws -> ChildProcess {
                try? FileManager.default.removeItem(atPath: host.path("/run/plain.serial"))
                return try host.start(
                    [
                        "qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none",
                        "-serial", "file:/run/plain.serial", "-qmp", "unix:/run/culvert/qmp/plain.sock,server=on,wait=off",
                        "-monitor", "unix:/run/plain.monitor,server=on,wait=off", "-boot", "a",
                        "-drive", "if=floppy,format=raw,readonly=on,file=/var/lib/libvirt/images/plain.boot",
                    ] + options)
            }

            func expectMoved() async throws {
                try await guests.destination.waitForPasses(3)
                #expect(guests.source.fault == nil)
                #expect(guests.destination.fault == nil)
                #expect(guests.destination.continues(guests.source))
            }

            /// Gives QEMU at the source a command.
            func tell(_ command: String) throws { try monitor.write(Array("\(command)\n".utf8)) }

            func end() {
                source.kill()
                destination.kill()
            }
        }

        @Test(arguments: [[], ["--multifd", "4"], ["--postcopy"], ["--exec"]])
        func movesBetweenPlainQEMUs(options: [String]) async throws {
            let lab = Lab.current
            let pair = try await Pair.start(incoming: "defer")
            let before = try await lab.seen().bytesSent(by: lab.hosta)
            // In precopy all of the memory, which the guest changes again and again, has to get across within the pause.
            let pause = options == ["--postcopy"] ? [] : ["--downtime", "3s"]
            try await lab.hosta.start(
                ["culvert", "migrate", "qemu", "--source", "unix:/run/culvert/qmp/plain.sock", "--destination", "hostb/qmp/plain"]
                    + options + pause
            ).succeed()
            try await pair.expectMoved()
            #expect(try await lab.seen().bytesSent(by: lab.hosta) - before > LibvirtGuest.worked)
            pair.end()
        }

        /// As tools do that start a command of one's choice for the stream, such as `xl migrate -s`.
        @Test func movesOverTheStdioOfACommand() async throws {
            let pair = try await Pair.start(incoming: "unix:/run/culvert/to-hostb/plain.sock")
            try pair.tell("migrate_set_parameter downtime-limit 3000")
            try pair.tell("migrate -d \"exec:culvert connect hostb/migrate/plain\"")
            try await pair.expectMoved()
            pair.end()
        }
    }
}
