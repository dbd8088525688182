import CulvertTestSupport
import Testing

extension LibvirtTests {
    /// The client is killed half-way.
    struct ClientCrashTests {
        @Test(arguments: Driver.allCases) func abortsADirectMigration(driver: Driver) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let migration = try guest.start(.slow, by: driver)
            try await migration.waitUntilUnderWay()
            migration.process.kill()
            try await waitUntil("the destination gives up") { try await !guest.to.running.contains(guest.name) }
            try await guest.expectStayed()
            try await guest.from.closeForwards()
            // The source is free for another try.
            try await guest.move(by: driver)
            try await guest.expectMoved()
            try await guest.remove()
        }

        @Test func leavesAPeerToPeerMigrationAlone() async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let migration = try guest.start(Move(flow: .peerToPeer, bandwidth: 4))
            try await migration.waitUntilUnderWay()
            migration.process.kill()
            // It goes on with nobody to ask for it, until it is let go fast enough to end.
            try await guest.from.run("virsh", "migrate-setspeed", guest.name, "1000")
            try await waitUntil("it ends") { try await !guest.from.running.contains(guest.name) }
            try await guest.expectMoved()
            try await guest.remove()
        }
    }
}
