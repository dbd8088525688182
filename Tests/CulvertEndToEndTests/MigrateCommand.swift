import CulvertTestSupport
import Foundation

/// A `culvert migrate qemu --json` under way.
struct MigrateCommand {
    let process: ChildProcess
    private let errorPath: String

    init(_ options: [String], on host: Host) throws {
        let id = UUID().uuidString
        errorPath = host.directory("migrate-\(id).err")
        process = try ChildProcess(
            Host.culvert, ["migrate", "qemu", "--json", "--admin", host.directory("admin.sock")] + options,
            output: host.directory("migrate-\(id).out"), errors: errorPath)
    }

    struct Event: Decodable {
        var event: String
        var stage: String?
        var transferred: UInt64?
        var text: String?
        var cause: String?
        var guest: String?
        var sourceState: String?
        var destinationState: String?
        var passes: Int?
        var postcopy: Bool?
    }

    /// What it has printed so far.
    var events: [Event] {
        process.output.split(separator: "\n").compactMap { try? JSONDecoder().decode(Event.self, from: Data($0.utf8)) }
    }

    var errorText: String { (try? String(contentsOfFile: errorPath, encoding: .utf8)) ?? "" }

    /// Waits until so much is on the way, in the named stage if there is one.
    func waitForBytes(_ count: UInt64, in stage: String? = nil) async throws {
        try await waitUntil("\(count) bytes are on the way: \(process.output) \(errorText)") {
            events.contains { ($0.transferred ?? 0) > count && (stage == nil || $0.stage == stage) }
        }
    }

    /// Its summary. Throws if it fails.
    func summary() async throws -> Event {
        let exit = try await process.waitForExit(limit: .seconds(120))
        guard exit == .code(0), let summary = events.last, summary.event == "summary" else {
            throw CommandFailed(description: "\(exit): \(errorText)")
        }
        return summary
    }

    /// How it fails; it must exit with 1, and with one line on stderr that says what the last event says.
    func failure(limit: Duration = .seconds(60)) async throws -> Event {
        let exit = try await process.waitForExit(limit: limit)
        guard exit == .code(1), let error = events.last, error.event == "error", errorText == "culvert: \(error.text ?? "")\n"
        else { throw CommandFailed(description: "\(exit): \(errorText), last event \(String(describing: events.last))") }
        return error
    }

    struct CommandFailed: Error, CustomStringConvertible {
        let description: String
    }
}
