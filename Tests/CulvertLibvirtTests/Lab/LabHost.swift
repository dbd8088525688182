import CulvertDaemon
import CulvertRelay
import CulvertTestSupport
import Foundation
import Testing

/// A host of the lab.
struct LabHost: Sendable {
    let lab: Lab
    let name: String
    let peerName: String

    var peer: LabHost { LabHost(lab: lab, name: peerName, peerName: name) }

    enum Service: String { case libvirtd, relay }

    /// Where a file of this host is for the test.
    func path(_ path: String) -> String { "\(lab.path)/\(name)\(path)" }

    /// Starts a command there, which ends with its object.
    func start(_ words: [String]) throws -> ChildProcess { try lab.command(["exec", lab.path, name, "--"] + words) }

    /// What a command prints there. Throws if it fails.
    @discardableResult func run(_ words: String...) async throws -> String { try await start(words).succeed() }

    /// How a command fails there.
    func failure(_ words: String...) async throws -> String {
        let process = try start(words)
        let exit = try await process.waitForExit()
        #expect(exit != .code(0), "\(words) succeeded: \(process.output)")
        return process.output
    }

    /// start, stop or kill.
    func service(_ verb: String, _ service: Service) async throws {
        try await lab.command("service", lab.path, name, verb, service.rawValue).succeed()
    }

    /// What its relay says of itself.
    var status: RelayStatus {
        get throws { try AdminClient(path: path("/run/culvert/admin.sock"), timeout: 60).status() }
    }

    /// How many descriptors it has open.
    var relayDescriptors: Int {
        get async throws {
            let list = try await run("sh", "-c", "ls /proc/$(cat /run/relay.pid)/fd")
            return list.split(separator: "\n").count
        }
    }

    /// The sessions with the peer of that name.
    func sessions(with peer: String) throws -> [SessionStatus] {
        try status.peers.first { $0.name == peer }?.sessions ?? []
    }

    /// What its relay has logged since `offset` bytes, which is what `logSize` told before.
    func log(since offset: Int = 0) -> String {
        String(decoding: (FileManager.default.contents(atPath: path("/relay.log")) ?? Data()).dropFirst(offset), as: UTF8.self)
    }

    var logSize: Int { FileManager.default.contents(atPath: path("/relay.log"))?.count ?? 0 }

    /// The names of the domains that run there.
    var running: [String] {
        get async throws { try await run("virsh", "list", "--name").split(separator: "\n").map(String.init) }
    }

    /// What libvirt there knows of a domain that does not come or go just now; nil if nothing.
    func domain(_ name: String) async throws -> Domain? {
        let names = try await run("virsh", "list", "--all", "--name").split(separator: "\n")
        guard names.contains(Substring(name)) else { return nil }
        let info = try await run("virsh", "dominfo", name)
        var domain = Domain(
            isActive: !info.contains(/State: +shut off/), isPersistent: info.contains(/Persistent: +yes/), description: nil)
        if domain.isPersistent {
            let configuration = try await run("virsh", "dumpxml", "--inactive", name)
            domain.description = configuration.firstMatch(of: /<description>(.*)<\/description>/).map { String($0.1) } ?? ""
        }
        return domain
    }

    struct Domain: Equatable {
        var isActive, isPersistent: Bool
        /// Of its stored configuration.
        var description: String?
    }

    /// Calls `body` with the relay running on a changed configuration file, and restores it then.
    func withRelay(_ change: (inout String) throws -> Void, body: () async throws -> Void) async throws {
        let file = path("/var/lib/culvert/culvert.yaml")
        let original = try String(contentsOfFile: file, encoding: .utf8)
        var changed = original
        try change(&changed)
        #expect(changed != original)
        try await restartRelay(with: changed)
        do { try await body() } catch {
            try await restartRelay(with: original)
            throw error
        }
        try await restartRelay(with: original)
    }

    private func restartRelay(with configuration: String) async throws {
        try await service("kill", .relay)
        try configuration.write(toFile: path("/var/lib/culvert/culvert.yaml"), atomically: true, encoding: .utf8)
        try await service("start", .relay)
    }

    /// What a migration may have left behind here. Empty if nothing is.
    func leftovers() async throws -> [String] {
        let domains = try await run("virsh", "list", "--all", "--name").split(separator: "\n").map { "domain \($0)" }
        let sockets = try FileManager.default.contentsOfDirectory(atPath: path("/run/culvert/to-\(name)")).map { "socket \($0)" }
        let processes = try await run("ps", "-eo", "comm=").split(separator: "\n")
            .filter { $0.hasPrefix("qemu") || $0.hasPrefix("virsh") }.map { "process \($0)" }
        let descriptors = try await relayDescriptors
        let more = descriptors - lab.idleDescriptors(of: name)
        let streams = try status.peers.flatMap(\.sessions).flatMap(\.streams).map { "stream to \($0.service)" }
        return (domains + sockets + processes + streams + (more > 0 ? ["\(more) descriptors"] : [])).map { "\($0) on \(name)" }
    }

    /// Removes the files of sockets on which QEMU has waited for a guest.
    func forgetSockets() async throws { try await run("sh", "-c", "rm -f /run/culvert/to-\(name)/*") }

    /// Puts right what a test that failed has left.
    func repair() async throws {
        try await run("sh", "-c", "hostname \(name); \(Disturbance.repair); ! mountpoint -q /run/small || umount /run/small")
        if try await start(["virsh", "version"]).waitForExit() != .code(0) { try await service("start", .libvirtd) }
        if (try? status) == nil { try await service("start", .relay) }
        _ = try await start([
            "sh", "-c",
            """
            for domain in $(virsh list --name); do virsh destroy $domain; done
            for domain in $(virsh list --all --name); do virsh undefine $domain; done
            pkill -KILL qemu-system
            """,
        ]).waitForExit()
        try await forgetSockets()
    }
}
