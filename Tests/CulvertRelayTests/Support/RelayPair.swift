import CulvertIO
import CulvertTLS
import Foundation
import Logging

@testable import CulvertRelay

/// A directory that goes when the test ends.
final class TestDirectory: Sendable {
    let path: String

    init() throws {
        path = "/tmp/culvert-\(UInt32.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    subscript(name: String) -> String { "\(path)/\(name)" }
}

/// One certificate authority and certificates of it.
struct TestPKI {
    let authority: CertificateAuthority
    let directory: TestDirectory

    init(_ directory: TestDirectory) throws {
        self.directory = directory
        authority = try CertificateAuthority(CertificateTerms(name: "test CA", days: 2))
        try Data(authority.certificate.pem()).write(to: URL(fileURLWithPath: directory["ca.pem"]))
    }

    func context(_ name: String) throws -> TLSContext {
        var terms = CertificateTerms(name: name, days: 1)
        terms.dnsNames = [name]
        let issued = try authority.issue(terms)
        try Data(issued.certificate.pem()).write(to: URL(fileURLWithPath: directory["\(name).pem"]))
        try Data(issued.key.pem()).write(to: URL(fileURLWithPath: directory["\(name).key"]))
        return try TLSContext(files: TLSFiles(
            ca: directory["ca.pem"], certificate: directory["\(name).pem"], key: directory["\(name).key"]))
    }
}

/// Two relays in this process: `a` dials `b`.
final class RelayPair {
    let directory: TestDirectory
    let pki: TestPKI
    let a: Relay
    let b: Relay

    /// - Parameters:
    ///   - services: of b, name and target; all allow a.
    ///   - forwards: of a, socket's file name and service of b.
    init(
        services: [(String, Endpoint)] = [], forwards: [(String, String)] = [],
        limits: RelayLimits = RelayLimits(), directory: TestDirectory? = nil
    ) async throws {
        let directory = try directory ?? TestDirectory()
        self.directory = directory
        pki = try TestPKI(directory)
        var logger = Logger(label: "culvert") { _ in StreamLogHandler.standardError(label: "culvert") }
        logger.logLevel = ProcessInfo.processInfo.environment["CULVERT_TEST_LOG"] == nil ? .critical : .debug

        var settings = RelaySettings(name: "b", listen: [.tcp(host: "127.0.0.1", port: 0)], runtimeDirectory: directory.path)
        settings.limits = limits
        settings.peers = [PeerSettings(name: "a", addresses: [])]
        settings.services = services.map { ServiceSettings(name: $0.0, connect: $0.1, allow: ["a"]) }
        b = try Relay(settings: settings, tls: pki.context("b"), logger: logger)
        try await b.start()

        settings = RelaySettings(name: "a", listen: [], runtimeDirectory: directory.path)
        settings.limits = limits
        settings.peers = [PeerSettings(name: "b", addresses: [try Endpoint(hostAndPort: await b.status().listen[0])])]
        settings.forwards = forwards.map {
            ForwardSettings(listen: .unix(path: directory[$0.0]), to: ServiceReference(peer: "b", service: $0.1))
        }
        a = try Relay(settings: settings, tls: pki.context("a"), logger: logger)
        try await a.start()
    }

    func stop() async {
        await a.stop()
        await b.stop()
    }

    /// Streams that either relay has now.
    func streams() async -> Int {
        let peers = await a.status().peers + b.status().peers
        return peers.flatMap(\.sessions).reduce(0) { $0 + $1.streams.count }
    }
}
