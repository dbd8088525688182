import CulvertRelay
import Testing

@testable import CulvertDaemon

@Suite struct MetricsTests {
    private let lines = Metrics.text(.sample).split(separator: "\n").map(String.init)

    @Test func everySampleFollowsItsFamilysHelpAndType() {
        var family = ""
        var seen: Set<String> = []
        for (index, line) in lines.enumerated() {
            if line.hasPrefix("# HELP ") {
                family = String(line.split(separator: " ")[2])
                #expect(seen.insert(family).inserted, "\(family) comes once")
                let kind = family.hasSuffix("_total") ? "counter" : "gauge"
                #expect(lines[index + 1] == "# TYPE \(family) \(kind)")
            } else if !line.hasPrefix("#") {
                let name = line.prefix { $0 != "{" && $0 != " " }
                #expect(name == family)
                #expect(line.split(separator: " ").last.flatMap { Double($0) } != nil)
            }
        }
        #expect(seen.count == 25)
    }

    @Test(arguments: [
        #"culvert_info{name="hosta",version="0.1.0"} 1"#,
        "culvert_uptime_seconds 3725.5",
        "culvert_draining 0",
        "culvert_buffer_bytes 12345",
        #"culvert_refused_connections_total{reason="say \"hi\"\\"} 1"#,
        #"culvert_refused_connections_total{reason="unknown peer"} 2"#,
        #"culvert_refused_connections_total{reason="timeout"} 0"#,
        #"culvert_peer_sessions{peer="hostb"} 1"#,
        #"culvert_peer_sessions{peer="hostc"} 0"#,
        #"culvert_peer_lanes{peer="hostb"} 1"#,
        #"culvert_peer_streams_total{peer="hostb"} 12"#,
        #"culvert_peer_streams_reset_total{peer="hostb"} 3"#,
        #"culvert_peer_sent_bytes_total{peer="hostb"} 1073741824"#,
        #"culvert_peer_spliced_sent_bytes_total{peer="hostb"} 536870912"#,
        #"culvert_peer_spliced_received_bytes_total{peer="hostb"} 1024"#,
        #"culvert_peer_spliced_received_bytes_total{peer="hostc"} 0"#,
        #"culvert_session_rtt_seconds{peer="hostb",session="00c0ffee"} 0.0005"#,
        #"culvert_lane_sent_bytes_total{lane="4",peer="hostb",session="00c0ffee"} 5000"#,
        #"culvert_peer_streams{direction="incoming",peer="hostb"} 1"#,
        #"culvert_peer_streams{direction="outgoing",peer="hostc"} 0"#,
        #"culvert_peer_unacknowledged_bytes{peer="hostb"} 2000"#,
        #"culvert_forward_accepted_total{listen="tcp:127.0.0.1:4444",to="hostb/web1"} 7"#,
    ])
    func sampleIsThere(line: String) {
        #expect(lines.contains(line))
    }
}
