import CulvertTestSupport
import Testing

extension LibvirtTests {
    struct LoadTests {
        /// Four guests each way at once, with one channel each or, their order mattering then, with five.
        @Test(arguments: Driver.allCases, [nil, 4]) func movesEightGuestsAtOnce(driver: Driver, connections: Int?) async throws {
            let lab = Lab.current
            let guests = try await withThrowingTaskGroup(of: LibvirtGuest.self) { group in
                for slot in 1...4 {
                    for host in lab.hosts {
                        group.addTask {
                            // Together they must not change memory faster than two processors can encrypt it.
                            try await LibvirtGuest.start("\(host.name)-\(slot)", on: host, "--work", "17", "--pause", "200")
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let migrations = try guests.map { guest in
                let slot = guest.name.last?.wholeNumberValue ?? 0
                return try guest.start(Move(connections: connections, bandwidth: 5, slot: slot), by: driver)
            }
            for migration in migrations { try await migration.waitUntilUnderWay() }
            #expect(migrations.allSatisfy { $0.process.exit == nil })
            let sessions = try lab.hosta.sessions(with: "hostb")
            #expect(sessions.count == 1 && sessions[0].lanes.count == 1)
            for guest in guests { try await guest.from.run("virsh", "migrate-setspeed", guest.name, "1000") }
            for migration in migrations { try await migration.succeed() }
            for guest in guests { try await guest.expectMoved() }
            for guest in guests { try await guest.remove() }
        }
    }
}
