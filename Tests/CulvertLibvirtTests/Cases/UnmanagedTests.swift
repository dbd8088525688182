import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// No libvirt daemon takes part: two QEMUs, through the same relays and the same firewall. libvirt itself offers this
    /// flow, `virsh migrate --direct`, for other hypervisors only.
    struct UnmanagedTests {
        private struct Pair {
            let source, destination: ChildProcess
            let guests: (source: GuestWatch, destination: GuestWatch)

            /// Both have a QMP and a human monitor; the destination waits for the guest.
            static func start(incoming: String) async throws -> Pair {
                let lab = Lab.current
                let guest = try await LibvirtGuest.define("plain", on: lab.hosta)
                try await guest.remove()
                let pair = Pair(
                    source: try qemu(lab.hosta, []), destination: try qemu(lab.hostb, ["-incoming", incoming]),
                    guests: (GuestWatch(serial: lab.hosta.path("/run/plain.serial")), GuestWatch(serial: lab.hostb.path("/run/plain.serial"))))
                try await pair.guests.source.waitForPasses(2)
                return pair
            }

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
            try await lab.hosta.start(
                ["culvert", "migrate", "qemu", "--source", "unix:/run/culvert/qmp/plain.sock", "--destination", "hostb/qmp/plain"]
                    + options
            ).succeed()
            try await pair.expectMoved()
            #expect(try await lab.seen().bytesSent(by: lab.hosta) - before > LibvirtGuest.worked)
            pair.end()
        }

        /// As tools do that start a command of one's choice for the stream, such as `xl migrate -s`.
        @Test func movesOverTheStdioOfACommand() async throws {
            let lab = Lab.current
            let pair = try await Pair.start(incoming: "unix:/run/culvert/to-hostb/plain.sock")
            let monitor = try StreamSocket.connect(unix: lab.hosta.path("/run/plain.monitor"))
            try monitor.write(Array("migrate -d \"exec:culvert connect hostb/migrate/plain\"\n".utf8))
            try await pair.expectMoved()
            pair.end()
        }
    }
}
