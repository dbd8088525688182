import CulvertRelay

/// A relay's status in Prometheus's text format, version 0.0.4.
enum Metrics {
    static func text(_ status: RelayStatus) -> String {
        var page = Page()
        relay(status, &page)
        peers(status.peers, &page)
        sessions(status.peers, &page)
        streams(status.peers, &page)
        forwards(status.forwards, &page)
        return page.text
    }

    private static func relay(_ status: RelayStatus, _ page: inout Page) {
        page.family("culvert_info", .gauge, "The relay's name and version; always 1.")
        page.sample(1, ["name": status.name, "version": status.version])
        page.family("culvert_uptime_seconds", .gauge, "Time since the relay started.")
        page.sample(status.uptime)
        page.family("culvert_draining", .gauge, "1 while the relay takes no new streams.")
        page.sample(status.draining ? 1 : 0)
        page.family("culvert_buffer_bytes", .gauge, "Bytes in stream buffers.")
        page.sample(status.memory)
        page.family(
            "culvert_refused_connections_total", .counter,
            "Connections refused on the TLS port before they were a peer.")
        // What has not happened yet counts 0, so that the first time is an increase.
        let reasons = Set(status.refused.keys).union(RelayStatus.refusalReasons)
        for reason in reasons.sorted() { page.sample(status.refused[reason] ?? 0, ["reason": reason]) }
    }

    private static func peers(_ peers: [PeerStatus], _ page: inout Page) {
        func family(_ name: String, _ kind: Kind, _ help: String, _ value: (PeerStatus) -> some Number) {
            page.family(name, kind, help)
            for peer in peers { page.sample(value(peer), ["peer": peer.name]) }
        }
        family("culvert_peer_sessions", .gauge, "Sessions with the peer.") { $0.sessions.count }
        family("culvert_peer_lanes", .gauge, "Lanes to the peer.") { $0.sessions.reduce(0) { $0 + $1.lanes.count } }
        family("culvert_peer_streams_total", .counter, "Streams opened with the peer, by either side.") {
            $0.streamsOpened
        }
        family("culvert_peer_streams_reset_total", .counter, "Streams that ended by a reset.") { $0.streamsReset }
        family("culvert_peer_sent_bytes_total", .counter, "Stream bytes sent to the peer.") { $0.bytesSent }
        family("culvert_peer_received_bytes_total", .counter, "Stream bytes received from the peer.") {
            $0.bytesReceived
        }
        family("culvert_peer_spliced_sent_bytes_total", .counter, "Stream bytes sent that never entered this process.") {
            $0.splicedSent
        }
        family("culvert_peer_spliced_received_bytes_total", .counter, "Stream bytes received that never entered this process.") {
            $0.splicedReceived
        }
    }

    private static func sessions(_ peers: [PeerStatus], _ page: inout Page) {
        let sessions = peers.flatMap { peer in
            peer.sessions.map { (labels: ["peer": peer.name, "session": $0.id], session: $0) }
        }
        page.family("culvert_session_rtt_seconds", .gauge, "Last measured round trip of the session.")
        for (labels, session) in sessions {
            if let rtt = session.rtt { page.sample(rtt / 1_000, labels) }
        }
        page.family("culvert_session_rtt_minimum_seconds", .gauge, "Least round trip of the session.")
        for (labels, session) in sessions {
            if let rtt = session.rttMinimum { page.sample(rtt / 1_000, labels) }
        }
        page.family("culvert_session_lanes_lost_total", .counter, "Lanes lost while the session went on.")
        for (labels, session) in sessions { page.sample(session.lanesLost, labels) }
        page.family("culvert_session_compressed_plain_bytes_total", .counter, "Payload that went compressed, before.")
        for (labels, session) in sessions {
            for (direction, bytes) in [("sent", session.compression.sentPlain), ("received", session.compression.receivedPlain)] {
                page.sample(bytes, labels.merging(["direction": direction]) { $1 })
            }
        }
        page.family("culvert_session_compressed_bytes_total", .counter, "Payload that went compressed, after.")
        for (labels, session) in sessions {
            for (direction, bytes) in [("sent", session.compression.sentPacked), ("received", session.compression.receivedPacked)] {
                page.sample(bytes, labels.merging(["direction": direction]) { $1 })
            }
        }
        func lanes(_ name: String, _ help: String, _ value: (LaneStatus) -> UInt64) {
            page.family(name, .counter, help)
            for (labels, session) in sessions {
                for lane in session.lanes {
                    page.sample(value(lane), labels.merging(["lane": String(lane.number)]) { $1 })
                }
            }
        }
        lanes("culvert_lane_sent_bytes_total", "Ciphertext bytes sent on the lane.") { $0.bytesSent }
        lanes("culvert_lane_received_bytes_total", "Ciphertext bytes received on the lane.") { $0.bytesReceived }
    }

    /// Summed by peer: single streams are too short-lived and too many to be time series.
    private static func streams(_ peers: [PeerStatus], _ page: inout Page) {
        page.family("culvert_peer_streams", .gauge, "Streams open now, by the side that opened them.")
        for peer in peers {
            let streams = peer.sessions.flatMap(\.streams)
            for (direction, outgoing) in [("incoming", false), ("outgoing", true)] {
                page.sample(
                    streams.count { $0.outgoing == outgoing }, ["peer": peer.name, "direction": direction])
            }
        }
        func sum(_ name: String, _ help: String, _ value: (StreamStatus) -> Int) {
            page.family(name, .gauge, help)
            for peer in peers {
                page.sample(peer.sessions.flatMap(\.streams).reduce(0) { $0 + value($1) }, ["peer": peer.name])
            }
        }
        sum("culvert_peer_unacknowledged_bytes", "Bytes kept until the peer acknowledges them.") { $0.unacknowledged }
        sum("culvert_peer_undelivered_bytes", "Bytes received that local sockets have not taken yet.") {
            $0.undelivered
        }
    }

    private static func forwards(_ forwards: [ForwardStatus], _ page: inout Page) {
        func family(_ name: String, _ kind: Kind, _ help: String, _ value: (ForwardStatus) -> some Number) {
            page.family(name, kind, help)
            for forward in forwards where forward.origin == "config" {
                page.sample(value(forward), ["listen": forward.listen, "to": forward.to])
            }
        }
        family("culvert_forward_accepted_total", .counter, "Connections accepted by a configured forward.") {
            $0.accepted
        }
        family("culvert_forward_active", .gauge, "Connections of a configured forward that are open.") { $0.active }
    }

    // MARK: Format

    private enum Kind: String {
        case counter, gauge
    }

    /// What a sample's value may be; each prints itself the way Prometheus reads it.
    private typealias Number = CustomStringConvertible & Comparable

    private struct Page {
        private(set) var text = ""
        private var name = ""

        mutating func family(_ name: String, _ kind: Kind, _ help: String) {
            self.name = name
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
        }

        /// One sample of the family begun last.
        mutating func sample(_ value: some Number, _ labels: [String: String] = [:]) {
            let list = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\"\(Self.escaped($0.value))\"" }
            text += name + (list.isEmpty ? "" : "{\(list.joined(separator: ","))}") + " \(value)\n"
        }

        private static func escaped(_ label: String) -> String {
            var result = ""
            for character in label.unicodeScalars {
                switch character {
                case "\\": result += "\\\\"
                case "\"": result += "\\\""
                case "\n": result += "\\n"
                default: result.unicodeScalars.append(character)
                }
            }
            return result
        }
    }
}
