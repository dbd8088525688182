import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// The guest's disk, which the hosts do not share, goes with it. The guest leaves it alone; where a test wants writes,
    /// QEMU makes them.
    struct StorageTests {
        struct Disk: Sendable, CustomTestStringConvertible {
            /// Of `lab guest`.
            var kind: String
            var storage: Move.Storage
            var format: String { kind == "overlay" ? "qcow2" : kind }
            var testDescription: String { "\(kind), --copy-storage-\(storage)" }
        }

        static let disks = [
            Disk(kind: "raw", storage: .all), Disk(kind: "qcow2", storage: .all),
            Disk(kind: "raw", storage: .inc), Disk(kind: "qcow2", storage: .inc), Disk(kind: "overlay", storage: .inc),
        ]

        @Test(arguments: Driver.allCases, disks) func copiesTheDisk(driver: Driver, disk: Disk) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--disk", disk.kind)
            try await guest.move(Move(storage: disk.storage), by: driver)
            try await guest.expectMoved()
            try await guest.remove()
            try await guest.expectSameDisks(disk.format)
        }

        @Test(arguments: Driver.allCases, [Move(flow: .peerToPeer, storage: .all), Move(legs: .tcp, storage: .all)])
        func copiesTheDiskEveryWay(driver: Driver, move: Move) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--disk", "qcow2")
            try await guest.move(move, by: driver)
            try await guest.expectMoved()
            try await guest.remove()
            try await guest.expectSameDisks("qcow2")
        }

        /// Of the base nothing is sent, and the destination's is used: what the source has changed is all that arrives.
        @Test(arguments: Driver.allCases) func copiesOnlyWhatTheTopImageHolds(driver: Driver) async throws {
            let lab = Lab.current
            let guest = try await LibvirtGuest.start(on: lab.hosta, "--disk", "overlay", "--disk-size", "64", "--pause", "400")
            let before = try await lab.seen().bytesSent(by: lab.hosta)
            try await guest.move(Move(storage: .inc), by: driver)
            // A guest that is quick may send its memory twice or thrice, but no base of 64 MiB besides.
            #expect(try await lab.seen().bytesSent(by: lab.hosta) - before < LibvirtGuest.worked * 2 + 64 << 20)
            try await guest.expectMoved()
            try await guest.remove()
            try await guest.expectSameDisks("qcow2")
            let information = try await run("qemu-img", "info", guest.image(guest.to, "qcow2"))
            #expect(information.contains("backing file: \(guest.name).base"))
        }

        @Test(arguments: Driver.allCases) func copiesWhatIsWrittenMeanwhile(driver: Driver) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--disk", "qcow2")
            let migration = try guest.start(Move(storage: .all, bandwidth: 4), by: driver)
            try await waitUntil("the disk is on the way: \(migration.process.output)") {
                try await guest.from.run("virsh", "qemu-monitor-command", guest.name, "--hmp", "info block-jobs")
                    .contains("Type mirror")
            }
            // The first MiB is on the way by now, the last is not yet.
            for place in ["0", "15M"] {
                let said = try await guest.from.run(
                    "virsh", "qemu-monitor-command", guest.name, "--hmp",
                    "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P 0x5a \(place) 512k\"")
                // It says nothing of a success.
                #expect(said.trimmingCharacters(in: .whitespacesAndNewlines) == "")
            }
            try await migration.waitUntilUnderWay()
            try await guest.from.run("virsh", "migrate-setspeed", guest.name, "1000")
            try await migration.succeed()
            try await guest.expectMoved()
            try await guest.remove()
            try await guest.expectSameDisks("qcow2")
            for place in ["0", "15M"] {
                let read = try await run(
                    "qemu-io", "-r", "-f", "qcow2", "-c", "read -P 0x5a \(place) 512k", guest.image(guest.to, "qcow2"))
                #expect(!read.contains("verification failed"))
            }
        }

        @Test(arguments: Driver.allCases, [Move.Flow.direct, .peerToPeer])
        func saysThatThereIsNoSpace(driver: Driver, flow: Move.Flow) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--disk", "qcow2")
            let image = "/var/lib/libvirt/images/\(guest.name).qcow2"
            try await guest.to.run(
                "sh", "-c",
                """
                mkdir /run/small && mount -t tmpfs -o size=4M small /run/small
                qemu-img create -q -f qcow2 /run/small/disk 16M && ln -sf /run/small/disk \(image)
                """)
            let error = try await guest.start(Move(flow: flow, storage: .all), by: driver).failure()
            #expect(error.contains("migration of disk vda failed: No space left on device"))
            try await guest.expectStayed()
            try await guest.remove()
            try await guest.to.run("sh", "-c", "umount /run/small && rmdir /run/small && rm \(image)")
            // QEMU has listened for the guest there, and nobody ever connected.
            try await guest.to.forgetSockets()
        }

        private func run(_ words: String...) async throws -> String {
            let log = try TemporaryDirectory()
            return try await ChildProcess(words[0], Array(words.dropFirst()), output: log("log")).succeed()
        }
    }
}
