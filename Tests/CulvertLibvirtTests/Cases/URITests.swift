import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    /// The cases for which the guide has migration URIs. Names, networks and ports are the relays' concern here.
    struct URITests {
        /// Neither name can lead libvirt to the destination, as it says when it is left to itself.
        @Test(arguments: [
            ("hostb", "Unable to resolve address 'hostb'"),
            ("localhost", "hostname on destination resolved to localhost, but migration requires an FQDN"),
        ])
        func needsNoNameOfTheDestination(name: String, complaint: String) async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta)
            try await guest.to.run("hostname", name)
            let words = ["virsh", "migrate", guest.name, "qemu+unix:///system?socket=/run/culvert/hostb/libvirt.sock"]
            for flow in [[], ["--p2p"]] {
                let said = try await guest.from.start(words + flow).finished()
                #expect(said.contains(complaint), "\(said)")
            }
            try await guest.move(Move())
            try await guest.to.run("hostname", "hostb")
            try await guest.expectMoved()
            try await guest.remove()
        }

        /// The relays listen on two networks, and their `addresses` decide which one migrations use.
        @Test(arguments: Driver.allCases) func usesTheChosenNetwork(driver: Driver) async throws {
            let lab = Lab.current
            try await lab.hosta.withRelay({ $0.replace(#"["10.77.0.2:16515"]"#, with: #"["10.78.0.2:16515"]"#) }) {
                try await lab.hostb.withRelay({ $0.replace(#"["10.77.0.1:16515"]"#, with: #"["10.78.0.1:16515"]"#) }) {
                    try await lab.waitForSession()
                    let guest = try await LibvirtGuest.start(on: lab.hosta)
                    let before = try await lab.seen()
                    try await guest.move(by: driver)
                    try await guest.expectMoved()
                    let after = try await lab.seen()
                    #expect(after.bytesSent(by: lab.hosta, over: "lan0") == before.bytesSent(by: lab.hosta, over: "lan0"))
                    let sent = after.bytesSent(by: lab.hosta, over: "lan1") - before.bytesSent(by: lab.hosta, over: "lan1")
                    #expect(sent > LibvirtGuest.worked)
                    try await guest.remove()
                }
            }
            try await lab.waitForSession()
        }

        /// The TCP port of the migration, which libvirt would choose from 49152 on, is what the forward leads to.
        @Test func usesTheChosenPort() async throws {
            let guest = try await LibvirtGuest.start(on: Lab.current.hosta, "--pause", "100")
            let migration = try guest.start(Move(legs: .tcp, bandwidth: 4))
            try await migration.waitUntilUnderWay()
            // 49161, from 127.0.0.1 to 127.0.0.1, established.
            let connections = try await guest.to.run("cat", "/proc/net/tcp")
            #expect(connections.contains("0100007F:C009 0100007F:"))
            try await guest.from.run("virsh", "migrate-setspeed", guest.name, "1000")
            try await migration.succeed()
            try await guest.expectMoved()
            try await guest.remove()
        }

        /// The destination's certificate carries another name than the peer's; `identity` says which.
        @Test(arguments: Driver.allCases) func acceptsAnotherNameInTheCertificate(driver: Driver) async throws {
            let lab = Lab.current
            let logged = lab.hosta.logSize
            try await lab.hostb.run("culvert", "certs", "issue", "rack7.example.net", "--force", "--dir", lab.pki)
            try await lab.hostb.withRelay({ $0.replace("pki/hostb.", with: "\(lab.pki)/rack7.example.net.") }) {
                let guest = try await LibvirtGuest.start(on: lab.hosta)
                try await waitUntil("hosta sees the name that it does not expect") {
                    lab.hosta.log(since: logged).contains("rack7.example.net")
                }
                try await lab.hosta.withRelay({
                    $0.replace(#"["10.77.0.2:16515"]"#, with: #"["10.77.0.2:16515"], identity: rack7.example.net"#)
                }) {
                    try await lab.waitForSession()
                    try await guest.move(by: driver)
                    try await guest.expectMoved()
                }
                try await guest.remove()
            }
            try await lab.waitForSession()
        }
    }
}
