import CulvertTestSupport
import Testing

extension LibvirtTests {
    /// Only the definition moves.
    struct OfflineTests {
        @Test(arguments: Driver.allCases, [Move.Flow.direct, .peerToPeer])
        func copiesTheDefinitionOfWhatIsOff(driver: Driver, flow: Move.Flow) async throws {
            let guest = try await LibvirtGuest.define(on: Lab.current.hosta, "--description", "off")
            try await guest.move(Move(flow: flow, offline: true, persistent: true), by: driver)
            let off = LabHost.Domain(isActive: false, isPersistent: true, description: "off")
            #expect(try await guest.from.domain(guest.name) == off)
            #expect(try await guest.to.domain(guest.name) == off)
            try await guest.remove()
        }

        @Test(arguments: Driver.allCases) func leavesWhatRunsRunning(driver: Driver) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--persistent", "--description", "on")
            try await guest.move(Move(offline: true, persistent: true), by: driver)
            #expect(
                try await guest.from.domain(guest.name)
                    == LabHost.Domain(isActive: true, isPersistent: true, description: "on"))
            #expect(
                try await guest.to.domain(guest.name)
                    == LabHost.Domain(isActive: false, isPersistent: true, description: "on"))
            try await guest.source.waitForPasses(3)
            #expect(guest.source.fault == nil)
            try await guest.remove()
        }
    }
}
