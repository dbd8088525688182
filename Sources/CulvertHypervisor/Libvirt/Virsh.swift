import Foundation
import Glibc

/// libvirt's command, asked for one thing at a time.
struct Virsh: Sendable {
    /// Looked up in PATH unless it is a path.
    var program = "virsh"
    /// Of the daemon to ask; nil leaves that to virsh.
    var uri: String?

    /// What it says is parsed, so it must not be translated.
    private static let environment = ProcessInfo.processInfo.environment.merging(["LC_ALL": "C"]) { $1 }

    func at(_ uri: String) -> Virsh { Virsh(program: program, uri: uri) }

    /// The whole command.
    func command(_ words: [String]) -> [String] { [program] + (uri.map { ["--connect", $0] } ?? []) + words }

    func start(_ words: [String]) async throws(VirshError) -> ChildProcess {
        do throws(ChildProcess.StartError) {
            return try await ChildProcess.start(command(words), environment: Self.environment)
        } catch {
            throw VirshError(.notStarted, ["cannot start \(program): \(String(cString: strerror(error.code)))"])
        }
    }

    /// What it prints.
    func ask(_ words: [String], within limit: Duration = .seconds(15)) async throws(VirshError) -> String {
        let outcome = try await run(words, within: limit)
        if let error = VirshError(outcome) { throw error }
        return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// What it prints for several commands given at once, of which some may fail.
    func askAll(_ commands: [String], within limit: Duration = .seconds(15)) async throws(VirshError) -> String {
        try await run([commands.joined(separator: "; ")], within: limit).output
    }

    private func run(_ words: [String], within limit: Duration) async throws(VirshError) -> ChildProcess.Outcome {
        let child = try await start(words)
        let timer = Task {
            try await Task.sleep(for: limit)
            child.signal(SIGKILL)
        }
        defer { timer.cancel() }
        let clock = ContinuousClock.now
        let outcome = await child.wait()
        if outcome.status == nil, clock.duration(to: .now) >= limit {
            throw VirshError(.silent, ["libvirt\(uri.map { " (\($0))" } ?? "") does not answer within \(HumanText.time(limit))"])
        }
        return outcome
    }
}

/// What virsh says went wrong.
struct VirshError: Error, Sendable, Equatable, CustomStringConvertible {
    enum Kind: Sendable {
        /// There is no virsh.
        case notStarted
        case silent
        case killed
        /// It said no and why.
        case refused
    }

    var kind: Kind
    /// Its own words, without the `error: ` before them.
    var lines: [String]

    init(_ kind: Kind, _ lines: [String]) {
        self.kind = kind
        self.lines = lines
    }

    /// Nil if there was no error.
    init?(_ outcome: ChildProcess.Outcome) {
        guard outcome.status != 0 else { return nil }
        lines = outcome.errors.split(whereSeparator: \.isNewline)
            .map { $0.hasPrefix("error: ") ? String($0.dropFirst("error: ".count)) : String($0) }
            .filter { !$0.allSatisfy(\.isWhitespace) }
        kind = outcome.status == nil ? .killed : .refused
        if lines.isEmpty {
            lines = [kind == .killed ? "virsh was killed" : "virsh failed with status \(outcome.status ?? 1) and gave no reason"]
        }
    }

    var description: String { lines.joined(separator: ": ") }

    /// The connection to a daemon could not be made.
    var isConnectFailure: Bool { lines.first?.hasPrefix("failed to connect to the hypervisor") == true }

    var isUnknownDomain: Bool { lines.contains { $0.hasPrefix("failed to get domain") || $0.hasPrefix("Domain not found") } }
}
