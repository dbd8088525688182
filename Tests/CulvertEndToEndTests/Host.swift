import CulvertDaemon
import CulvertRelay
import CulvertTestSupport
import Foundation

/// One host as far as Culvert is concerned: a relay with its sockets in a directory of its own.
final class Host: Sendable {
    /// The program: what `CULVERT_BINARY` names, else the one next to the tests.
    static let culvert =
        ProcessInfo.processInfo.environment["CULVERT_BINARY"]
        ?? URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .appending(path: "culvert").path

    let name: String
    let peer: String
    let directory: TemporaryDirectory
    let relay: ChildProcess

    /// Starts the relay and waits until it answers.
    ///
    /// - Parameters:
    ///   - credentials: the directory of `ca.pem`, `NAME.pem` and `NAME.key`.
    ///   - address: of the peer; nil: the peer dials.
    ///   - tcpService: the port of a local TCP service `stream`.
    static func start(
        _ name: String, peer: String, credentials: TemporaryDirectory, address: String?, tcpService: UInt16
    ) async throws -> Host {
        let host = try Host(name, peer, credentials, address, tcpService)
        try await waitUntil("relay \(name) answers; it wrote: \(host.relay.output)") {
            if host.relay.exit != nil { throw TimedOut(description: "relay \(name) ended: \(host.relay.output)") }
            return (try? host.status) != nil
        }
        return host
    }

    private init(
        _ name: String, _ peer: String, _ credentials: TemporaryDirectory, _ address: String?, _ tcpService: UInt16
    ) throws {
        self.name = name
        self.peer = peer
        directory = try TemporaryDirectory()
        try FileManager.default.createDirectory(atPath: directory("migrate"), withIntermediateDirectories: false)
        let configuration = """
            relay: { name: \(name), listen: ["127.0.0.1:0"], admin: \(directory("admin.sock")), loops: 1 }
            tls:
              ca: \(credentials("ca.pem"))
              certificate: \(credentials("\(name).pem"))
              key: \(credentials("\(name).key"))
            peers:
              \(peer): { addresses: [\(address.map { "\"\($0)\"" } ?? "")] }
            services:
              qmp: { connect: "unix:\(directory("{name}.qmp"))", allow: [\(peer)] }
              migrate: { connect: "unix:\(directory("migrate/{name}.sock"))", allow: [\(peer)] }
              stream: { connect: "tcp:127.0.0.1:\(tcpService)", allow: [\(peer)] }
            limits: { session-timeout: 5s }

            """
        try configuration.write(toFile: directory("culvert.yaml"), atomically: true, encoding: .utf8)
        relay = try ChildProcess(
            Self.culvert, ["serve", "--config", directory("culvert.yaml")], output: directory("relay.log"))
    }

    var status: RelayStatus {
        get throws { try AdminClient(path: directory("admin.sock"), timeout: 60).status() }
    }

    /// What is left of migrations: forwards, streams and socket files. Empty if nothing is.
    func leftovers() throws -> [String] {
        let status = try status
        let sockets = try FileManager.default.contentsOfDirectory(atPath: directory("migrate"))
        let migrations = try FileManager.default.contentsOfDirectory(atPath: directory.path).filter { $0.hasPrefix("migration-") }
        // The relay keeps the account of a finished `culvert connect` for a while.
        let forwards = status.forwards.filter { $0.active > 0 || $0.ended.isEmpty || !$0.listen.contains("/once-") }
        return forwards.map { "forward \($0.listen)" } + sockets + migrations
            + status.peers.flatMap(\.sessions).flatMap(\.streams).map { "stream to \($0.service)" }
    }
}
