import CulvertTestSupport
import Testing

extension LibvirtTests {
    /// Every data transport under every control flow.
    struct TransportTests {
        static let moves = [
            Move(), Move(flow: .peerToPeer),
            Move(legs: .tcp), Move(flow: .peerToPeer, legs: .tcp),
            Move(flow: .tunnelled), Move(flow: .tunnelled, legs: .tcp),
            Move(connections: 4), Move(flow: .peerToPeer, connections: 4), Move(legs: .tcp, connections: 4),
        ]

        @Test(arguments: Driver.allCases, moves) func carriesIt(driver: Driver, move: Move) async throws {
            let lab = Lab.current
            let guest = try await LibvirtGuest.start(on: lab.hosta)
            let before = try await lab.seen().bytesSent(by: lab.hosta)
            try await guest.move(move, by: driver)
            try await guest.expectMoved()
            #expect(try await lab.seen().bytesSent(by: lab.hosta) - before > LibvirtGuest.worked)
            try await guest.remove()
        }

        @Test(arguments: Driver.allCases) func movesThereAndBack(driver: Driver) async throws {
            let there = try await LibvirtGuest.start(on: Lab.current.hosta)
            try await there.move(by: driver)
            try await there.expectMoved()
            let back = try await there.returning()
            try await back.move(Move(flow: .peerToPeer), by: driver)
            try await back.expectMoved()
            try await back.remove()
        }

        /// libvirt reaches the other daemon through the stdin and stdout of a command of its choice.
        @Test func movesWithLibvirtOverStdio() async throws {
            let host = Lab.current.hosta
            let guest = try await LibvirtGuest.start(on: host)
            try await host.run("sh", "-c", "printf '#!/bin/sh\\nexec culvert connect hostb/libvirt\\n' >/run/dial; chmod +x /run/dial")
            try await host.run(
                "virsh", "migrate", "--live", guest.name, "--desturi", "qemu+ext:///system?command=/run/dial",
                "--migrateuri", "unix:///run/culvert/to-hostb/slot1.sock")
            try await guest.expectMoved()
            try await guest.remove()
        }
    }
}
