import CulvertTestSupport
import Foundation
import Glibc
import Synchronization
import Testing

/// Two hosts with libvirt, and a firewall between them that lets only the relays' port through: packaging/lab.
final class Lab: Sendable {
    private static let script = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../../packaging/lab/lab").standardized.path

    /// The program: what `CULVERT_BINARY` names, else the one next to the tests.
    private static let culvert =
        ProcessInfo.processInfo.environment["CULVERT_BINARY"]
        ?? URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .appending(path: "culvert").path

    private let outputs: TemporaryDirectory
    let path: String
    private let keeper: ChildProcess

    private let descriptors = Mutex<[String: Int]>([:])

    @TaskLocal private static var running: Lab?

    /// The one that the running test uses.
    static var current: Lab {
        guard let running else { preconditionFailure("only tests with a lab ask for it") }
        return running
    }

    private init() throws {
        outputs = try TemporaryDirectory()
        path = outputs("lab")
        keeper = try ChildProcess(
            Self.script, ["up", path, "--hold", "--binary", Self.culvert], output: outputs("keeper.log"))
    }

    /// Runs `body` with a lab as `current`, and takes it down; then nothing of it is left.
    static func run(_ body: @Sendable () async throws -> Void) async throws {
        let lab = try Lab()
        try await waitUntil(limit: .seconds(60), "the lab is up: \(lab.keeper.output)") {
            if let exit = lab.keeper.exit { throw TimedOut(description: "lab: \(exit): \(lab.keeper.output)") }
            return FileManager.default.fileExists(atPath: lab.path + "/ready")
        }
        for host in lab.hosts {
            let count = try await host.relayDescriptors
            lab.descriptors.withLock { $0[host.name] = count }
        }
        do { try await $running.withValue(lab, operation: body) } catch { Issue.record(error) }
        let down = try lab.command("down", lab.path)
        #expect(try await down.waitForExit() == .code(0), "\(down.output)")
        #expect(!FileManager.default.fileExists(atPath: lab.path))
        try await waitUntil("the keeper ends") { lab.keeper.exit != nil }
    }

    /// The authority's directory, for the hosts as well.
    var pki: String { path + "/pki" }

    var hosta: LabHost { LabHost(lab: self, name: "hosta", peerName: "hostb") }
    var hostb: LabHost { LabHost(lab: self, name: "hostb", peerName: "hosta") }
    var hosts: [LabHost] { [hosta, hostb] }

    /// How many descriptors a relay has open while nothing moves.
    func idleDescriptors(of host: String) -> Int { descriptors.withLock { $0[host] ?? 0 } }

    /// Starts the lab's script.
    func command(_ words: String...) throws -> ChildProcess { try command(words) }

    func command(_ words: [String]) throws -> ChildProcess {
        try ChildProcess(Self.script, words, output: outputs(UUID().uuidString))
    }

    /// What has passed or was refused at the firewalls since they are there.
    func seen() async throws -> Seen {
        Seen(try await command("seen", path).succeed())
    }

    /// Waits until a session joins the relays again.
    func waitForSession() async throws {
        try await waitUntil("a session between the relays") {
            try hosts.allSatisfy { try $0.sessions(with: $0.peerName).count == 1 }
        }
    }

    /// Calls `body` with relays that give a session up 3 s after they have lost its connection.
    func withShortSessions(_ body: () async throws -> Void) async throws {
        let shorten = { (configuration: inout String) in configuration += "limits: { session-timeout: 3s }\n" }
        try await hosta.withRelay(shorten) {
            try await hostb.withRelay(shorten) {
                try await waitForSession()
                try await body()
            }
        }
        try await waitForSession()
    }
}

/// What the firewalls of a lab have counted.
struct Seen {
    struct Line {
        var host, verdict, kind: String
        var bytes: Int
    }

    let lines: [Line]

    /// Reads lines such as `hosta sent lan0: 7 packets, 420 bytes` and `hostb refused tcp 22: 1 packets, 60 bytes`.
    init(_ text: String) {
        lines = text.split(separator: "\n").compactMap { line in
            guard let match = line.wholeMatch(of: /(\w+) (\w+) (.+): \d+ packets, (\d+) bytes/) else { return nil }
            return Line(
                host: String(match.1), verdict: String(match.2), kind: String(match.3), bytes: Int(match.4) ?? 0)
        }
    }

    func bytesSent(by host: LabHost, over network: String = "lan0") -> Int {
        lines.filter { $0.host == host.name && $0.verdict == "sent" && $0.kind == network }.reduce(0) { $0 + $1.bytes }
    }

    /// `tcp 22` and so on.
    var refused: [String] { lines.filter { $0.verdict == "refused" }.map(\.kind) }
}

extension ChildProcess {
    /// Waits until it ends, and returns what it wrote. Throws if it fails.
    @discardableResult
    func succeed(limit: Duration = .seconds(60)) async throws -> String {
        let exit = try await waitForExit(limit: limit)
        guard exit == .code(0) else { throw CommandFailed(exit: exit, output: output) }
        return output
    }

    /// What it has written when it has ended, well or not.
    func finished() async throws -> String {
        _ = try await waitForExit()
        return output
    }
}

struct CommandFailed: Error, CustomStringConvertible {
    let exit: ChildProcess.Exit
    let output: String
    var description: String { "\(exit): \(output)" }
}
