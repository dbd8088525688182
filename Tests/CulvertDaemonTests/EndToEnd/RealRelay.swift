import CulvertTLS
import Foundation
import Testing

@testable import CulvertDaemon

/// A CA in a directory and the credentials it issued.
struct TestCredentials {
    private let directory: TemporaryDirectory
    private let authority: CertificateAuthority

    init(in directory: TemporaryDirectory) throws {
        self.directory = directory
        authority = try CertificateAuthority(CertificateTerms(name: "Test CA", days: 365))
        try write("ca.pem", authority.certificate.pem())
    }

    func issue(_ name: String) throws {
        var terms = CertificateTerms(name: name, days: 365)
        terms.dnsNames = [name]
        let issued = try authority.issue(terms)
        try write("\(name).pem", issued.certificate.pem())
        try write("\(name).key", issued.key.pem())
    }

    private func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: directory(name)))
        chmod(directory(name), 0o600)
    }
}

/// One `culvert serve`, ready to work, with its own directory for everything.
final class RealRelay {
    let name: String
    let directory: TemporaryDirectory
    private let manager: NotifySocket
    private let tls: String
    let tool: CommandLineTool

    var admin: String { directory("\(name).sock") }
    var client: AdminClient { AdminClient(path: admin, timeout: Int(testLimit)) }
    var configurationFile: String { directory("\(name).yaml") }

    /// - Parameters:
    ///   - tls: the section of that name; by default the certificate of that name.
    ///   - sections: everything below `relay` and `tls`.
    init(
        _ name: String, in directory: TemporaryDirectory, relay: String = "", tls: String? = nil, sections: String,
        environment: [String: String] = [:], descriptors: Int? = nil
    ) throws {
        self.name = name
        self.directory = directory
        manager = try NotifySocket(at: directory("\(name).notify"))
        self.tls = tls ?? "{ ca: ca.pem, certificate: \(name).pem, key: \(name).key }"
        try Self.write(name, directory, relay, self.tls, sections)
        tool = try CommandLineTool(
            ["serve", "--config", directory("\(name).yaml")],
            environment: environment.merging(["NOTIFY_SOCKET": directory("\(name).notify")]) { $1 },
            descriptors: descriptors)
        try awaitNotification("READY=1")
    }

    func configure(relay: String = "", sections: String) throws {
        try Self.write(name, directory, relay, tls, sections)
    }

    private static func write(
        _ name: String, _ directory: TemporaryDirectory, _ relay: String, _ tls: String, _ sections: String
    ) throws {
        let text = """
            relay: { name: \(name), listen: ["127.0.0.1:0"], admin: \(directory("\(name).sock")), loops: 2 \(relay) }
            tls: \(tls)
            \(sections)

            """
        try Data(text.utf8).write(to: URL(fileURLWithPath: directory("\(name).yaml")))
    }

    /// Skips what comes before. Fails early if the relay has ended.
    func awaitNotification(_ line: String) throws {
        try eventually("\(line) of \(name): \(tool.stderrSoFar)") {
            if let lines = manager.receive() { return lines.contains(line) }
            try #require(tool.isRunning, "relay \(name) ended: \(tool.stderrSoFar)")
            return false
        }
    }

    /// `127.0.0.1:PORT`.
    func address() throws -> String {
        try #require(try client.status().listen.first)
    }

    /// Waits for a session with `peer`.
    func awaitSession(with peer: String) throws {
        try eventually("a session of \(name) with \(peer): \(tool.stderrSoFar)") {
            try client.status().peers.contains { $0.name == peer && $0.sessions.contains { $0.rtt != nil } }
        }
    }
}

/// The service manager's end.
final class NotifySocket {
    private let descriptor: CInt

    init(at path: String) throws {
        descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        let descriptor = descriptor
        let bound = try UnixSocket.withAddress(path) { bind(descriptor, $0, $1) }
        try #require(bound == 0)
        var limit = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    /// The lines of one message; nil if none came for a second.
    func receive() -> [String]? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return nil }
        return String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

/// A local service on a UNIX socket: what it does with a connection is up to the test.
final class TestService: Sendable {
    private let listener: Channel

    init(at path: String, _ serve: @escaping @Sendable (Channel) throws -> Void) throws {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        listener = Channel(adopting: descriptor, blocking: true)
        let bound = try UnixSocket.withAddress(path) { bind(descriptor, $0, $1) }
        try #require(bound == 0 && listen(descriptor, 16) == 0)
        Thread { [listener] in
            // `shutdown` in deinit ends the wait.
            while true {
                let connection = accept(listener.descriptor, nil, nil)
                guard connection >= 0 else { return }
                Thread { try? serve(Channel(adopting: connection)) }.start()
            }
        }.start()
    }

    deinit { shutdown(listener.descriptor, CInt(SHUT_RDWR)) }

    /// Takes everything, then gives it back.
    static func echo(_ connection: Channel) throws {
        try connection.send(connection.receiveAll())
    }
}

extension Channel {
    convenience init(connectedTo path: String) throws {
        try self.init(adopting: UnixSocket.connect(path))
    }
}
