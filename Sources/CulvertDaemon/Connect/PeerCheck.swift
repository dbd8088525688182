import CulvertRelay
import Foundation
import Glibc

/// Whether a peer can be reached and what it lets this host reach, tried for real: one stream to a built-in service of
/// the peer, for which the relay makes a session if there is none.
public struct PeerCheck: Encodable, Sendable {
    public var peer: String
    public var isReachable = false
    /// Why not, as the relay says it.
    public var cause: String?
    public var remote: String?
    public var tls: String?
    /// Milliseconds, the least measured.
    public var roundTrip: Double?
    /// What `peers.NAME.tls` asks for here, and what both relays have said.
    public var bulk: BulkStatus?
    /// As a forward or `connect` would ask for them; NAME stands for a name of your own.
    public var services: [String] = []

    private struct Answer: Decodable {
        var services: [String]
    }

    /// - Throws: if the local relay cannot be asked or has no such peer; whatever is wrong with the peer is a result.
    public init(peer: String, admin: AdminClient) throws {
        self.peer = peer
        let peers = try admin.status().peers, known = peers.map(\.name)
        guard var now = peers.first(where: { $0.name == peer }) else {
            throw ServiceConnection.Failure(
                description: "the local relay has no peer '\(peer)'; its configuration names "
                    + (known.isEmpty ? "none" : known.joined(separator: ", ")))
        }
        // A question would wait for a connection that is lost, as streams do; a person gets an answer.
        let end = Date(timeIntervalSinceNow: Self.patience)
        while Self.isCut(now), Date() < end {
            Thread.sleep(forTimeInterval: 0.1)
            now = try admin.status().peers.first { $0.name == peer } ?? now
        }
        if Self.isCut(now) {
            cause = "the connection is lost, and streams wait for another: " + (now.lastError ?? "it is being made")
            return
        }
        do {
            services = try JSONDecoder().decode(Answer.self, from: Self.ask("\(peer)/culvert/services", admin)).services
            isReachable = true
        } catch let failure as ServiceConnection.Failure {
            cause = failure.resetText ?? failure.description
        }
        guard let session = try admin.status().peers.first(where: { $0.name == peer })?.sessions.last else { return }
        remote = session.lanes.first?.remote
        tls = session.lanes.first?.tls
        roundTrip = session.rttMinimum
        bulk = session.bulk
    }

    /// Seconds in which a connection that was just lost may be made again.
    private static let patience = 3.0

    /// There are sessions, and no connection.
    private static func isCut(_ peer: PeerStatus) -> Bool {
        !peer.sessions.isEmpty && peer.sessions.allSatisfy(\.lanes.isEmpty)
    }

    /// What a service says that is told nothing. It fits a pipe.
    private static func ask(_ service: String, _ admin: AdminClient) throws -> Data {
        let answer = Pipe()
        let silence = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { close(silence) }
        try ServiceConnection(
            to: service, admin: admin, input: silence, output: answer.fileHandleForWriting.fileDescriptor
        ).run()
        try answer.fileHandleForWriting.close()
        return try answer.fileHandleForReading.readToEnd() ?? Data()
    }

    /// Why a peer cannot be reached, for people; nil if it can.
    public var failure: String? {
        isReachable ? nil : "\(peer) cannot be reached: \(HumanText.plain(cause ?? "for no known reason"))"
    }

    /// What is known of a peer that can be reached, for people, in lines.
    public var text: String {
        var lines = ["\(peer): ok"]
        if let remote, let tls { lines.append("at \(remote), \(tls)") }
        if roundTrip != nil { lines.append("round trip \(HumanText.milliseconds(roundTrip))") }
        if let bulk, bulk.wanted != bulk.agreed {
            lines.append(
                "bulk is encrypted in the session: 'tls: \(bulk.wanted)' takes it on both relays when a session begins"
                    + (bulk.wanted == "kernel" ? ", and kernels with TLS" : ""))
        }
        lines.append(
            services.isEmpty
                ? "no service of it allows this host: name this relay in the 'allow' of one there"
                : "lets this host reach \(services.joined(separator: ", "))")
        return lines.map(HumanText.plain).joined(separator: "\n  ") + "\n"
    }
}
