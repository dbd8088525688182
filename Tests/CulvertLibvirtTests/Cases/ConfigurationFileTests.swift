import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// The table of libvirt's migration guide, "Configuration file handling": https://libvirt.org/migration.html
    struct ConfigurationFileTests {
        /// Whose configuration a host has in the end.
        enum Configuration: String { case source, destination }

        struct Row: Sendable, CustomTestStringConvertible {
            var sourceIsPersistent, destinationIsConfigured, undefineSource, persistent: Bool
            /// What the guide says: whose configuration there is on the source and on the destination; nil: none.
            var onSource, onDestination: Configuration?

            init(_ before: (Bool, Bool), _ flags: (Bool, Bool), _ after: (Configuration?, Configuration?)) {
                (sourceIsPersistent, destinationIsConfigured) = before
                (undefineSource, persistent) = flags
                (onSource, onDestination) = after
            }

            var testDescription: String {
                (sourceIsPersistent ? "persistent" : "transient")
                    + (destinationIsConfigured ? ", known at the destination" : "")
                    + (undefineSource ? " --undefinesource" : "") + (persistent ? " --persistent" : "")
            }
        }

        private static let no = false, yes = true

        // Before: the source is persistent, the destination is configured. Flags: --undefinesource, --persistent.
        static let table = [
            Row((no, no), (no, no), (nil, nil)),
            Row((no, no), (yes, no), (nil, nil)),
            Row((no, no), (no, yes), (nil, .source)),
            Row((no, no), (yes, yes), (nil, .source)),
            Row((no, yes), (no, no), (nil, .destination)),
            Row((no, yes), (yes, no), (nil, .destination)),
            Row((no, yes), (no, yes), (nil, .source)),
            Row((no, yes), (yes, yes), (nil, .source)),
            Row((yes, no), (no, no), (.source, nil)),
            Row((yes, no), (yes, no), (nil, nil)),
            Row((yes, no), (no, yes), (.source, .source)),
            Row((yes, no), (yes, yes), (nil, .source)),
            Row((yes, yes), (no, no), (.source, .destination)),
            Row((yes, yes), (yes, no), (nil, .destination)),
            Row((yes, yes), (no, yes), (.source, .source)),
            Row((yes, yes), (yes, yes), (nil, .source)),
        ]

        @Test(arguments: Driver.allCases, table) func isAsInTheGuide(driver: Driver, row: Row) async throws {
            let uuid = UUID().uuidString
            let host = Lab.current.hosta
            if row.destinationIsConfigured {
                _ = try await LibvirtGuest.define(
                    on: host.peer, "--uuid", uuid, "--description", Configuration.destination.rawValue)
            }
            let options = ["--uuid", uuid, "--description", Configuration.source.rawValue]
            let guest = try await LibvirtGuest.start(on: host, options + (row.sourceIsPersistent ? ["--persistent"] : []))
            try await guest.move(Move(persistent: row.persistent, undefineSource: row.undefineSource), by: driver)

            let source = try await guest.from.domain(guest.name)
            #expect(source?.isActive != true)
            #expect(source?.description == row.onSource?.rawValue)
            let destination = try #require(try await guest.to.domain(guest.name))
            #expect(destination.isActive)
            #expect(destination.isPersistent == (row.onDestination != nil))
            #expect(destination.description == row.onDestination?.rawValue)
            try await guest.expectMoved()
            try await guest.remove()
        }
    }
}
