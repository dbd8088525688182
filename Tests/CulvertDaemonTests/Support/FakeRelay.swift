import CulvertDaemon
import Synchronization

// The status values have no public initialiser: only a relay makes them.
@testable import CulvertRelay

/// A relay that only remembers what it was told.
final class FakeRelay: RelayControl {
    private let state = Mutex(RelayStatus.sample)
    private let added = Mutex<[ForwardSettings]>([])
    private let renewed = Mutex<[String]>([])

    var forwardsAdded: [ForwardSettings] { added.withLock { $0 } }
    var forwardsRenewed: [String] { renewed.withLock { $0 } }

    func status() async -> RelayStatus { state.withLock { $0 } }

    func addForward(_ settings: ForwardSettings) async throws(RelayError) -> ForwardStatus {
        guard settings.to.peer == "hostb" else {
            throw RelayError("no peer '\(settings.to.peer)'; the configuration has hostb")
        }
        added.withLock { $0.append(settings) }
        let forward = ForwardStatus(
            id: "f9", listen: settings.listen.description, to: settings.to.description, origin: "admin", accepted: 0,
            active: 0, ended: [])
        state.withLock { $0.forwards.append(forward) }
        return forward
    }

    func removeForward(_ forward: String) async throws(RelayError) {
        state.withLock { $0.forwards.removeAll { $0.id == forward } }
    }

    func renewForward(_ forward: String) async throws(RelayError) -> ForwardStatus {
        renewed.withLock { $0.append(forward) }
        return await status().forwards.first { $0.id == forward }!
    }
}

extension RelayStatus {
    /// One peer with a session and two streams, one without.
    static let sample = RelayStatus(
        name: "hosta", version: "0.1.0", uptime: 3725.5, listen: ["0.0.0.0:16515"], draining: false,
        peers: [
            PeerStatus(
                name: "hostb", addresses: ["10.0.0.2:16515"],
                sessions: [
                    SessionStatus(
                        id: "00c0ffee", dialled: true, draining: false, age: 60, rtt: 0.5, rttMinimum: 0.25, lanesLost: 1,
                        compression: CompressionStatus(
                            mode: "auto", sentPlain: 4000, sentPacked: 1000, receivedPlain: 0, receivedPacked: 0),
                        bulk: BulkStatus(wanted: "none", agreed: "none"),
                        lanes: [
                            LaneStatus(
                                number: 4, local: "10.0.0.1:5000", remote: "10.0.0.2:16515",
                                tls: "OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384", loop: "culvert-1", rtt: 0.5, bytesSent: 5000, bytesReceived: 600)
                        ],
                        streams: [
                            .sample(id: 1, service: "web1", outgoing: true, spliced: 2_000_000),
                            .sample(id: 2, service: "web\u{1B}[2J", outgoing: false),
                        ])
                ],
                lastError: nil, streamsOpened: 12, streamsReset: 3, bytesSent: 1 << 30, bytesReceived: 2048, splicedSent: 1 << 29,
                splicedReceived: 1024),
            PeerStatus(
                name: "hostc", addresses: [], sessions: [], lastError: "connection refused\u{1B}[31m", streamsOpened: 0,
                streamsReset: 0, bytesSent: 0, bytesReceived: 0, splicedSent: 0, splicedReceived: 0),
        ],
        forwards: [
            ForwardStatus(
                id: "f1", listen: "tcp:127.0.0.1:4444", to: "hostb/web1", origin: "config", accepted: 7, active: 1,
                ended: [
                    StreamOutcome(
                        stream: 1, time: 1, bytesSent: 1, bytesReceived: 1,
                        reset: ResetReport(
                            code: "connect-failed", errno: "ECONNREFUSED", text: "no QEMU there", remote: true))
                ])
        ],
        services: [ServiceStatus(name: "web1", connect: "tcp:127.0.0.1:4444", allow: ["hostb"])],
        refused: ["unknown peer": 2, "say \"hi\"\\": 1], memory: 12345)
}

extension StreamStatus {
    static func sample(id: UInt64, service: String, outgoing: Bool, spliced: UInt64 = 0) -> StreamStatus {
        StreamStatus(
            id: id, service: service, outgoing: outgoing, forward: outgoing ? "f1" : nil, state: "open", age: 12,
            bytesSent: 3_000_000, bytesReceived: 10, splicedSent: spliced, splicedReceived: 0, lossless: spliced == 0,
            sendRate: 1_500_000, receiveRate: 0, unacknowledged: 1000, undelivered: 20, sendWindow: 8 << 20, receiveWindow: 64 << 10)
    }
}
