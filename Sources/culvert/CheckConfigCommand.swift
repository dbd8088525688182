import ArgumentParser
import CulvertDaemon

struct CheckConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-config",
        abstract: "Check a configuration file and its credentials; print every error with its place.")

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config = Configuration.defaultFile

    @Flag(help: "Print the result as JSON on stdout.")
    var json = false

    func run() throws {
        let result = CheckResult(checking: config)
        if json { try printJSON(result) }
        for warning in result.warnings { printError("\(warning) (warning)") }
        for error in result.errors { printError("\(error)") }
        if !json, let summary = result.summary { print(summary) }
        if !result.ok { throw ExitCode.failure }
    }
}

/// What the check found, as `--json` prints it.
private struct CheckResult: Encodable {
    let file: String
    var ok: Bool
    var errors: [ConfigurationProblem] = []
    var warnings: [ConfigurationProblem] = []
    var relay: String?
    var peers: Int?
    var services: Int?
    var forwards: Int?

    init(checking file: String) {
        self.file = file
        do throws(ConfigurationError) {
            let configuration = try Configuration.load(file)
            relay = configuration.relay.name
            peers = configuration.relay.peers.count
            services = configuration.relay.services.count
            forwards = configuration.relay.forwards.count
            warnings = configuration.allWarnings(try configuration.loadCredentials())
            ok = true
        } catch {
            errors = error.problems
            ok = false
        }
    }

    /// Nil if the file cannot be used.
    var summary: String? {
        guard ok, let relay, let peers, let services, let forwards else { return nil }
        func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
        return "\(file): ok: relay \(relay), \(count(peers, "peer")), \(count(services, "service")), "
            + count(forwards, "forward")
    }
}
