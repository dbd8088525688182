import CulvertIO

@testable import CulvertRelay

/// What tests ask a relay's status.
extension RelayStatus {
    var streams: [StreamStatus] { peers.flatMap(\.sessions).flatMap(\.streams) }

    /// The only lane.
    var lane: LaneStatus? { peers.flatMap(\.sessions).flatMap(\.lanes).first }

    func peer(_ name: String) -> PeerStatus? { peers.first { $0.name == name } }

    /// The forward that leads to `service` of the peer.
    func forward(_ service: String) -> ForwardStatus? {
        forwards.first { $0.to.split(separator: "/", maxSplits: 1).last.map(String.init) == service }
    }
}

extension PeerStatus {
    /// A session stands and takes streams.
    var isConnected: Bool { sessions.contains { !$0.draining && $0.rtt != nil } }
}

extension Relay {
    /// Where its TLS port is.
    func port() async throws -> Endpoint {
        guard let address = await status().listen.first else { throw Failure("the relay does not listen") }
        return try Endpoint(hostAndPort: address)
    }

    /// What became of the peer, or of reaching it.
    func lastError(_ peer: String) async -> String? { await status().peer(peer)?.lastError }

    /// Waits until it says of `peer` what contains `text`.
    func expectError(_ text: String, of peer: String) async throws {
        var said: String?
        try await eventually("'\(text)' is said of \(peer), but \(said ?? "nothing")") {
            said = await lastError(peer)
            return said?.contains(text) == true
        }
    }

    /// The next outcome that the forward to `service` remembers, after `count` others.
    func outcome(_ service: String, after count: Int = 0) async throws -> StreamOutcome {
        try await eventually("a stream to \(service) has ended") {
            let ended = await status().forward(service)?.ended ?? []
            return ended.count > count ? ended[count] : nil
        }
    }
}
