import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// The link between the hosts is lost while guests are on their way. Neither libvirt nor QEMU notices: their sockets
    /// pause, and every migration completes, unless the loss lasts longer than a session does.
    struct LinkLossTests {
        /// Every way a guest's state can take, each with a guest of its own; all of them move at once.
        private enum Flow: String, CaseIterable, Sendable {
            case precopy, parallel, tunnelled, postcopy, storage

            var move: Move {
                switch self {
                case .precopy: Move(bandwidth: 4, slot: 1)
                case .parallel: Move(flow: .peerToPeer, connections: 4, bandwidth: 4, slot: 2)
                case .tunnelled: Move(flow: .tunnelled, bandwidth: 4)
                case .postcopy:
                    Move(flow: .peerToPeer, postcopy: true, bandwidth: 4, slot: 3, others: ["--postcopy-bandwidth", "1"])
                case .storage: Move(storage: .all, bandwidth: 4, slot: 4)
                }
            }

            /// Together they must not change memory faster than two processors can encrypt it.
            var options: [String] {
                ["--work", "17", "--pause", "100"] + (self == .storage ? ["--disk", "qcow2"] : [])
            }
        }

        private struct Traveller: Sendable {
            let flow: Flow
            let migration: Migration
            var guest: LibvirtGuest { migration.guest }

            /// Has it reach the point where losing the link would hurt.
            func waitUntilVulnerable() async throws {
                guard flow != .storage else {
                    return try await waitUntil("the disk is on the way: \(migration.process.output)") {
                        try await guest.from.run("virsh", "qemu-monitor-command", guest.name, "--hmp", "info block-jobs")
                            .contains("Type mirror")
                    }
                }
                try await migration.waitUntilUnderWay()
                guard flow == .postcopy else { return }
                try await guest.from.run("virsh", "migrate-postcopy", guest.name)
                try await guest.waitForState("running (post-copy)", on: guest.to)
            }

            /// Lifts the limit that has kept it from completing before the link was lost.
            func hurry() async throws {
                guard flow != .postcopy else {
                    // It may have completed by now, and then there is nothing to lift.
                    _ = try await guest.from.start(["virsh", "migrate-setspeed", guest.name, "1000", "--postcopy"]).finished()
                    return
                }
                try await migration.waitUntilUnderWay()
                try await guest.from.run("virsh", "migrate-setspeed", guest.name, "1000")
            }

            func arrive() async throws {
                try await hurry()
                try await migration.succeed()
                try await guest.expectMoved()
                try await guest.remove()
                if flow == .storage { try await guest.expectSameDisks("qcow2") }
            }
        }

        private func depart(by driver: Driver) async throws -> [Traveller] {
            let guests = try await withThrowingTaskGroup(of: (Flow, LibvirtGuest).self) { group in
                for flow in Flow.allCases {
                    group.addTask { (flow, try await LibvirtGuest.start(flow.rawValue, on: Lab.current.hosta, flow.options)) }
                }
                return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            }
            // In this order what lasts shortest is disturbed first.
            let travellers = try Flow.allCases.map { flow in
                Traveller(flow: flow, migration: try guests[flow]!.start(flow.move, by: driver))
            }
            for traveller in travellers { try await traveller.waitUntilVulnerable() }
            return travellers
        }

        static let disturbances = Disturbance.short + Disturbance.repeated + Disturbance.long

        /// One after the other, each by the one driver or the other.
        @Test(arguments: zip(disturbances, disturbances.indices.map { Driver.allCases[$0 % Driver.allCases.count] }))
        func everyFlowCompletes(disturbance: Disturbance, driver: Driver) async throws {
            let lab = Lab.current
            let before = try #require(try lab.hosta.sessions(with: "hostb").first)
            let travellers = try await depart(by: driver)
            #expect(travellers.allSatisfy { $0.migration.process.exit == nil })
            let passes = travellers.map(\.guest.source.passes)
            try await disturbance.start(on: lab.hosta).succeed()
            if disturbance.isLong {
                for (traveller, passes) in zip(travellers, passes) where traveller.flow != .postcopy {
                    #expect(traveller.guest.source.passes > passes + 2, "the guest runs on")
                }
            }
            try await withThrowingTaskGroup { group in
                for traveller in travellers { group.addTask { try await traveller.arrive() } }
                try await group.waitForAll()
            }
            let after = try lab.hosta.sessions(with: "hostb")
            #expect(after.map(\.id) == [before.id])
            if disturbance.cutsConnections { #expect(after[0].lanesLost > before.lanesLost) }
        }

        /// Two QEMUs without libvirt.
        @Test(arguments: Disturbance.short) func aPlainQEMUCompletes(disturbance: Disturbance) async throws {
            let lab = Lab.current
            let pair = try await UnmanagedTests.Pair.start(incoming: "defer")
            let migration = try lab.hosta.start([
                "culvert", "migrate", "qemu", "--source", "unix:/run/culvert/qmp/plain.sock",
                "--destination", "hostb/qmp/plain", "--bandwidth", "4MiB/s", "--downtime", "3s", "--json",
            ])
            try await waitUntil("some memory is on the way: \(migration.output)") {
                migration.output.contains(#""stage":"precopy""#)
            }
            try await disturbance.start(on: lab.hosta).succeed()
            #expect(migration.exit == nil, "\(migration.output)")
            try pair.tell("migrate_set_parameter max-bandwidth 1G")
            try await migration.succeed()
            try await pair.expectMoved()
            pair.end()
        }

        /// Longer than a session waits.
        @Test(arguments: zip(Driver.allCases, [Move.Flow.peerToPeer, .direct]))
        func failsCleanlyBeyondTheSetTime(driver: Driver, flow: Move.Flow) async throws {
            let lab = Lab.current, reason = "no other could be made within 3.0 seconds"
            try await lab.withShortSessions {
                let guest = try await LibvirtGuest.start(on: lab.hosta)
                let logged = lab.hosta.logSize
                let migration = try guest.start(Move(flow: flow, bandwidth: 4), by: driver)
                try await migration.waitUntilUnderWay()
                try await lab.hosta.run("ip", "link", "set", "lan0", "down")
                let error = try await migration.failure()
                try await guest.expectStayed()
                try await lab.hosta.run("ip", "link", "set", "lan0", "up")
                #expect(lab.hosta.log(since: logged).contains(reason))
                if driver == .culvert { #expect(error.contains(reason)) }
                try await lab.waitForSession()
                try await guest.remove()
                let sockets = guest.to.path("/run/culvert/to-hostb")
                // Before it is restarted: a new relay would know nothing of it.
                try await waitUntil("the relay removes the socket that the destination's QEMU listened at") {
                    try FileManager.default.contentsOfDirectory(atPath: sockets).isEmpty
                }
            }
        }
    }
}
