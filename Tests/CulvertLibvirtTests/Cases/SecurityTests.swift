import CulvertTestSupport
import Foundation
import Testing

extension LibvirtTests {
    struct SecurityTests {
        /// A relay that somebody runs on hosta as hostc, with hostc's certificate of the same authority.
        private func withStranger(_ body: (LabHost) async throws -> Void) async throws {
            let host = Lab.current.hosta
            let configuration = """
                relay: { name: hostc, listen: ["127.0.0.1:0"], admin: /run/hostc/admin.sock }
                tls: { ca: pki/ca.pem, certificate: \(host.lab.pki)/hostc.pem, key: \(host.lab.pki)/hostc.key }
                peers:
                  hostb: { addresses: ["10.77.0.2:16515"] }
                forwards:
                  - { listen: "unix:/run/hostc/libvirt.sock", to: "hostb/libvirt" }

                """
            try configuration.write(
                toFile: host.path("/var/lib/culvert/hostc.yaml"), atomically: true, encoding: .utf8)
            let relay = try host.start(["culvert", "serve", "--config", "/var/lib/culvert/hostc.yaml"])
            try await waitUntil("the stranger's relay answers: \(relay.output)") {
                try await host.start(["culvert", "status", "--admin", "/run/hostc/admin.sock"]).waitForExit() == .code(0)
            }
            try await body(host)
            relay.kill()
            try await host.run("rm", "-r", "/run/hostc", "/var/lib/culvert/hostc.yaml")
        }

        @Test func aHostThatNobodyAllowsReachesNothing() async throws {
            try await withStranger { host in
                let error = try await host.failure(
                    "virsh", "-c", "qemu+unix:///system?socket=/run/hostc/libvirt.sock", "list")
                #expect(error.contains("failed to connect to the hypervisor"))
                for service in ["libvirt", "migrate/slot1", "qmp/web1", "migrate-tcp", "disks-tcp"] {
                    let error = try await host.failure(
                        "culvert", "connect", "--admin", "/run/hostc/admin.sock", "hostb/\(service)")
                    #expect(error.contains("not-allowed"), "\(error)")
                }
            }
        }

        @Test func aHostThatNobodyKnowsGetsNoSession() async throws {
            let lab = Lab.current
            try await lab.hostb.withRelay({ $0.replace("  hostc: { addresses: [] }\n", with: "") }) {
                try await withStranger { host in
                    let error = try await host.failure(
                        "culvert", "connect", "--admin", "/run/hostc/admin.sock", "hostb/libvirt")
                    #expect(!error.contains("not-allowed"), "\(error)")
                    #expect(try lab.hostb.status.peers.map(\.name) == ["hosta"])
                }
            }
            try await lab.waitForSession()
        }
    }
}
