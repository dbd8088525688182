import CulvertRelay
import Foundation

/// `culvert status` for people.
public struct StatusReport {
    private let status: RelayStatus
    private let colour: Bool
    private let now: Double

    /// - Parameters:
    ///   - colour: whether to use terminal attributes.
    ///   - now: seconds since 1970, for what is left of leases.
    public init(_ status: RelayStatus, colour: Bool, now: Double = Date.now.timeIntervalSince1970) {
        self.status = status
        self.colour = colour
        self.now = now
    }

    /// Lines, each ended.
    public var text: String {
        [headline, peers, streams, forwards].filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private var headline: String {
        var parts = [
            "relay \(bold(HumanText.plain(status.name)))", "version \(status.version)",
            "up \(HumanText.age(status.uptime))",
            "listening on \(status.listen.joined(separator: ", "))", "\(HumanText.bytes(status.memory)) buffered",
        ]
        let refused = status.refused.values.reduce(0, +)
        if refused > 0 {
            let reasons = status.refused.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
            parts.append("\(refused) connections refused (\(HumanText.plain(reasons.joined(separator: ", "))))")
        }
        if status.draining { parts.append(warn("draining")) }
        return parts.joined(separator: ", ") + "\n"
    }

    private var peers: String {
        var table = TextTable([
            ("PEER", .left), ("SESSION", .left), ("AGE", .right), ("RTT", .right), ("LEAST", .right), ("LANES", .right),
            ("STREAMS", .right), ("OPENED", .right), ("RESET", .right), ("SENT", .right), ("RECEIVED", .right),
        ])
        var details: [String] = []
        for peer in status.peers {
            let totals = [
                "\(peer.streamsOpened)", "\(peer.streamsReset)", HumanText.bytes(peer.bytesSent),
                HumanText.bytes(peer.bytesReceived),
            ]
            if peer.sessions.isEmpty {
                table.add([peer.name, "none", "-", "-", "-", "0", "0"] + totals)
                let cause = peer.lastError ?? (peer.addresses.isEmpty ? "waiting for it to connect" : "connecting")
                details.append(warn("\(peer.name): no session: \(HumanText.plain(cause))") + "\n")
            }
            if let spliced = spliced(peer) { details.append("\(peer.name): \(spliced)\n") }
            for (index, session) in peer.sessions.enumerated() {
                table.add(
                    [
                        peer.name, session.id.prefix(8) + (session.draining ? " draining" : ""),
                        HumanText.age(session.age),
                        HumanText.milliseconds(session.rtt), HumanText.milliseconds(session.rttMinimum),
                        "\(session.lanes.count)", "\(session.streams.count)",
                    ] + (index == 0 ? totals : ["", "", "", ""]))
                for lane in session.lanes {
                    details.append(
                        "\(HumanText.plain("\(peer.name): lane \(lane.number), \(lane.local) - \(lane.remote), \(lane.tls)"))\n")
                }
                if let saved = compression(session.compression) { details.append("\(peer.name): \(saved)\n") }
                if session.lanes.isEmpty {
                    details.append(warn("\(peer.name): the connection is lost; \(session.streams.count) streams wait for another") + "\n")
                }
            }
        }
        return table.isEmpty ? "" : table.text(bold: bold) + details.joined()
    }

    private func spliced(_ peer: PeerStatus) -> String? {
        guard peer.splicedSent + peer.splicedReceived > 0 else { return nil }
        return "spliced \(HumanText.bytes(peer.splicedSent)) of what was sent, "
            + "\(HumanText.bytes(peer.splicedReceived)) of what was received"
    }

    private func compression(_ compression: CompressionStatus) -> String? {
        let plain = compression.sentPlain + compression.receivedPlain
        let packed = compression.sentPacked + compression.receivedPacked
        guard plain > 0 else { return nil }
        return "compressed (\(compression.mode)) \(HumanText.bytes(plain)) to \(HumanText.bytes(packed))"
    }

    private var streams: String {
        var table = TextTable([
            ("STREAM", .right), ("PEER", .left), ("SERVICE", .left), ("DIRECTION", .left), ("STATE", .left),
            ("AGE", .right),
            ("SENT", .right), ("RATE", .right), ("RECEIVED", .right), ("RATE", .right), ("UNACKED", .right),
            ("UNDELIVERED", .right), ("WINDOW OUT", .right), ("IN", .right),
        ])
        for peer in status.peers {
            for stream in peer.sessions.flatMap(\.streams) {
                table.add([
                    "\(stream.id)", peer.name, stream.service, stream.outgoing ? "outgoing" : "incoming",
                    stream.state + (stream.lossless ? "" : ", not lossless"), HumanText.age(stream.age),
                    HumanText.bytes(stream.bytesSent), HumanText.rate(stream.sendRate),
                    HumanText.bytes(stream.bytesReceived), HumanText.rate(stream.receiveRate),
                    HumanText.bytes(stream.unacknowledged), HumanText.bytes(stream.undelivered),
                    HumanText.bytes(stream.sendWindow), HumanText.bytes(stream.receiveWindow),
                ])
            }
        }
        return table.isEmpty ? "" : table.text(bold: bold)
    }

    private var forwards: String {
        status.forwards.isEmpty ? "" : ForwardReport(status.forwards, colour: colour, now: now).text
    }

    private func bold(_ text: String) -> String { Attribute.bold.apply(to: text, colour) }
    private func warn(_ text: String) -> String { Attribute.red.apply(to: text, colour) }
}

/// `culvert forward list` for people.
public struct ForwardReport {
    private let forwards: [ForwardStatus]
    private let colour: Bool
    private let now: Double

    /// - Parameters: as `StatusReport`'s.
    public init(_ forwards: [ForwardStatus], colour: Bool, now: Double = Date.now.timeIntervalSince1970) {
        self.forwards = forwards
        self.colour = colour
        self.now = now
    }

    public var text: String {
        var table = TextTable([
            ("FORWARD", .left), ("LISTEN", .left), ("TO", .left), ("ORIGIN", .left), ("ACCEPTED", .right),
            ("ACTIVE", .right),
            ("LAST RESET", .left),
        ])
        for forward in forwards {
            let reset = forward.ended.last { $0.reset != nil }?.reset
            table.add([
                forward.id, forward.listen, forward.to, origin(forward), "\(forward.accepted)", "\(forward.active)",
                reset.map(\.text) ?? "",
            ])
        }
        return table.text { Attribute.bold.apply(to: $0, colour) }
    }

    /// With the lease, if it has one.
    private func origin(_ forward: ForwardStatus) -> String {
        guard let expires = forward.expires else { return forward.origin }
        return "\(forward.origin), \(HumanText.age(max(expires - now, 0))) left"
    }
}

/// Terminal attributes (ECMA-48 SGR).
private enum Attribute: String {
    case bold = "1"
    case red = "31"

    func apply(to text: String, _ enabled: Bool) -> String {
        enabled ? "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" : text
    }
}
