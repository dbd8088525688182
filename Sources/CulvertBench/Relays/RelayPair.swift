import CulvertDaemon
import CulvertRelay
import Foundation

/// Two relays, processes of their own, joined by one session: what enters at `route` leaves at `exit`.
final class RelayPair {
    private let scratch: Scratch
    private let directory: String
    private var processes: [pid_t] = []

    var route: SocketRoute { SocketRoute(path: "\(directory)/entry.sock") }

    /// Longest time until they answer and know each other.
    private static let patience = 20.0

    /// Starts them and waits for the session.
    /// - Parameter exit: the path of a socket that somebody listens on.
    init(_ setup: BenchPlan.Setup, program: String, exit: String, credentials: Credentials, in scratch: Scratch) throws {
        self.scratch = scratch
        directory = "\(scratch.path)/relays"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        do {
            let far = try serve(
                Credentials.far, program, credentials, setup,
                """
                peers: { \(Credentials.near): { compression: \(setup.compression) } }
                services: { bench: { connect: "unix:\(exit)", allow: [\(Credentials.near)] } }
                """)
            let address = try wait(for: far, "listen") { $0.listen.first }
            let near = try serve(
                Credentials.near, program, credentials, setup,
                """
                peers:
                  \(Credentials.far): { addresses: ["\(address)"], lanes: \(setup.lanes), compression: \(setup.compression) }
                forwards: [{ listen: "unix:\(route.path)", to: "\(Credentials.far)/bench" }]
                """)
            _ = try wait(for: near, "reach the other relay") { status in
                status.peers.flatMap(\.sessions).first { $0.lanes.count == setup.lanes }
            }
        } catch {
            stop()
            throw error
        }
    }

    /// Ends them. Their streams have ended before.
    func stop() {
        for process in processes { scratch.stop(process) }
        processes = []
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// The last lines that both have logged, for whoever has to find out what went wrong.
    var log: String { [Credentials.far, Credentials.near].map(log(of:)).joined(separator: "\n") }

    private func log(of name: String) -> String {
        let log = (try? String(contentsOfFile: file(name, "log"), encoding: .utf8)) ?? ""
        return log.split(separator: "\n").suffix(5).joined(separator: "\n")
    }

    private struct Relay {
        var name: String
        var process: pid_t
    }

    private func serve(
        _ name: String, _ program: String, _ credentials: Credentials, _ setup: BenchPlan.Setup, _ routes: String
    ) throws -> Relay {
        let configuration = """
            relay: { name: \(name), listen: ["127.0.0.1:0"], admin: "\(file(name, "admin"))" }
            tls: \(credentials.configuration(of: name, for: setup))
            \(routes)

            """
        try configuration.write(toFile: file(name, "yaml"), atomically: false, encoding: .utf8)
        let words = [program, "bench", "relay", "--config", file(name, "yaml"), "--parent", "\(getpid())"]
        let process = try scratch.start(words, log: file(name, "log"))
        processes.append(process)
        return Relay(name: name, process: process)
    }

    /// Polls a relay's status until it holds what is looked for.
    private func wait<Value>(
        for relay: Relay, _ what: String, _ find: (RelayStatus) -> Value?
    ) throws -> Value {
        let admin = AdminClient(path: file(relay.name, "admin"))
        let deadline = Clock.now + Self.patience
        while Clock.now < deadline {
            if scratch.hasEnded(relay.process) { throw BenchError("the \(relay.name) relay ended: \(log(of: relay.name))") }
            if let found = (try? admin.status()).flatMap(find) { return found }
            Thread.sleep(forTimeInterval: 0.01)
        }
        throw BenchError("the \(relay.name) relay does not \(what) within \(Int(Self.patience)) s:\n\(log)")
    }

    private func file(_ name: String, _ suffix: String) -> String { "\(directory)/\(name).\(suffix)" }
}
