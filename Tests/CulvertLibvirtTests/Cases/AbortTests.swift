import CulvertTestSupport
import Testing

extension LibvirtTests {
    struct AbortTests {
        @Test(arguments: Driver.allCases, [Move.slow, Move(flow: .peerToPeer, bandwidth: 4), Move(flow: .tunnelled, bandwidth: 4)])
        func goesOnAtTheSource(driver: Driver, move: Move) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            let migration = try guest.start(move, by: driver)
            try await migration.waitUntilUnderWay()
            try await guest.from.run("virsh", "domjobabort", guest.name)
            #expect(try await migration.failure().contains("canceled by client"))
            try await guest.expectStayed()
            try await guest.remove()
        }
    }
}
