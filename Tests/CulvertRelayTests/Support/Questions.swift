@testable import CulvertRelay

/// What tests ask a relay's status.
extension RelayStatus {
    var streams: [StreamStatus] { peers.flatMap(\.sessions).flatMap(\.streams) }

    func peer(_ name: String) -> PeerStatus? { peers.first { $0.name == name } }

    /// The forward that leads to `service` of the peer.
    func forward(_ service: String) -> ForwardStatus? {
        forwards.first { $0.to.split(separator: "/", maxSplits: 1).last.map(String.init) == service }
    }
}

extension PeerStatus {
    var isConnected: Bool { sessions.contains { $0.age >= 0 && !$0.draining && $0.rtt != nil } }
}

extension Relay {
    /// The next outcome that the forward to `service` remembers, after `count` others.
    func outcome(_ service: String, after count: Int = 0) async throws -> StreamOutcome {
        try await eventually("a stream to \(service) has ended") {
            let ended = await status().forward(service)?.ended ?? []
            return ended.count > count ? ended[count] : nil
        }
    }
}
