import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// The person sees libvirt's own reason, and the guest runs on at the source.
    struct FaultTests {
        @Test(arguments: Driver.allCases, [Move.Flow.direct, .peerToPeer])
        func theDestinationDaemonIsDown(driver: Driver, flow: Move.Flow) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            try await guest.to.service("stop", .libvirtd)
            let logged = guest.from.logSize
            let error = try await guest.start(Move(flow: flow), by: driver).failure()
            try await guest.to.service("start", .libvirtd)
            // As to libvirt, the other end has hung up; why, the relay knows.
            #expect(error.contains("End of file while reading data"))
            #expect(guest.from.log(since: logged).contains("connect to unix:/run/libvirt/libvirt-sock: No such file or directory"))
            try await guest.expectStayed()
            try await guest.remove()
        }

        @Test(arguments: Driver.allCases, [Move.Flow.direct, .peerToPeer])
        func theDestinationDaemonDies(driver: Driver, flow: Move.Flow) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let migration = try guest.start(Move(flow: flow, bandwidth: 4), by: driver)
            try await migration.waitUntilUnderWay()
            try await guest.to.service("kill", .libvirtd)
            // Between the daemons the connection is missed at once; virsh needs it next when the memory is across.
            if flow == .direct { try await guest.from.run("virsh", "migrate-setspeed", guest.name, "1000") }
            let error = try await migration.failure()
            try await guest.to.service("start", .libvirtd)
            #expect(error.contains("client socket is closed") || error.contains("End of file while reading data"))
            try await guest.expectStayed()
            try await guest.remove()
        }

        @Test(arguments: Driver.allCases, [Move.slow, Move(flow: .peerToPeer, bandwidth: 4), Move(connections: 4, bandwidth: 4)])
        func theDestinationQEMUDies(driver: Driver, move: Move) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let migration = try guest.start(move, by: driver)
            try await migration.waitUntilUnderWay()
            try await guest.to.run("pkill", "-KILL", "qemu-system")
            let error = try await migration.failure()
            // Which of the two comes first is a matter of chance, without a relay as well.
            let reasons = ["qemu unexpectedly closed the monitor", "job 'migration out' failed: Unable to write to socket"]
            #expect(reasons.contains { error.contains($0) }, "\(error)")
            try await guest.expectStayed()
            try await guest.remove()
        }

        @Test(arguments: Driver.allCases, [Move.Flow.direct, .peerToPeer])
        func theRelayDies(driver: Driver, flow: Move.Flow) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let migration = try guest.start(Move(flow: flow, bandwidth: 4), by: driver)
            try await migration.waitUntilUnderWay()
            try await guest.to.service("kill", .relay)
            // A new relay knows nothing of the old one's streams.
            try await guest.to.service("start", .relay)
            _ = try await migration.failure()
            try await guest.expectStayed()
            try await guest.from.lab.waitForSession()
            // The relay that would have removed it is dead; the next migration replaces it.
            try await guest.to.forgetSockets()
            try await guest.remove()
        }

        @Test(arguments: Driver.allCases, [Move.Flow.direct, .peerToPeer])
        func theCPUModelIsWrong(driver: Driver, flow: Move.Flow) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            var definition = try await guest.from.run("virsh", "dumpxml", "--migratable", guest.name)
            definition.replace(/<cpu .*<\/cpu>/.dotMatchesNewlines(), with: "<cpu mode='custom' match='exact'><model>Nehalem</model></cpu>")
            try definition.write(toFile: guest.from.path("/run/other-cpu.xml"), atomically: true, encoding: .utf8)
            let error = try await guest.start(Move(flow: flow, others: ["--xml", "/run/other-cpu.xml"]), by: driver).failure()
            #expect(error.contains("Target CPU model Nehalem does not match source qemu64"))
            try await guest.expectStayed()
            try await guest.remove()
        }
    }
}
