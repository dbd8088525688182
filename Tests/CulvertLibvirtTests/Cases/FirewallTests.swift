import CulvertTestSupport
import Testing

extension LibvirtTests {
    /// What the other tests rely on: whatever does not go through the relays does not go at all.
    struct FirewallTests {
        @Test(arguments: ["tcp", "udp"]) func refusesWhatIsNotTheRelays(transport: String) async throws {
            let lab = Lab.current
            for port in [22, 16509, 49152] {
                _ = try await lab.hosta.start(["bash", "-c", "echo >/dev/\(transport)/10.77.0.2/\(port)"]).waitForExit()
            }
            #expect(try await Set(lab.seen().refused) == ["\(transport) 22", "\(transport) 16509", "\(transport) 49152"])
            try await lab.forgetRefused()
        }

        @Test func refusesAMigrationBesideTheRelays() async throws {
            let lab = Lab.current
            let guest = try await LibvirtGuest.start(on: lab.hosta)
            let error = try await lab.hosta.failure(
                "virsh", "migrate", "--live", guest.name, "--migrateuri", "tcp://10.77.0.2",
                "--desturi", "qemu+unix:///system?socket=/run/culvert/hostb/libvirt.sock")
            #expect(error.contains("Connection refused"))
            #expect(try await lab.seen().refused == ["tcp 49152"])
            try await lab.forgetRefused()
            try await guest.expectStayed()
            try await guest.remove()
        }
    }
}
