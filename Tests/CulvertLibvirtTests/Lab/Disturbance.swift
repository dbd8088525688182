import CulvertTestSupport
import Testing

/// What happens to the link between the hosts for a while.
struct Disturbance: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        /// Whatever is sent is answered with RST.
        case reset
        case down
        /// Whatever is sent vanishes.
        case silence
    }

    enum Course: Sendable, Equatable {
        /// Seconds without a break.
        case once(Int)
        /// Half of every second, so many times.
        case everySecond(Int)
    }

    let kind: Kind
    let course: Course

    static let short = Kind.allCases.map { Disturbance(kind: $0, course: .once(1)) }
    static let long = Kind.allCases.map { Disturbance(kind: $0, course: .once(20)) }
    static let repeated = Kind.allCases.map { Disturbance(kind: $0, course: .everySecond(6)) }

    /// Longer than `limits.keepalive`.
    var isLong: Bool { course == .once(20) }

    /// Whether every connection is lost. TCP may get over the others by itself.
    var cutsConnections: Bool { kind == .reset || isLong }

    /// Starts it; the link is whole when the process has ended.
    func start(on host: LabHost) throws -> ChildProcess {
        let (times, seconds, rest) = switch course {
        case .once(let seconds): (1, "\(seconds)", "0")
        case .everySecond(let times): (times, "0.5", "0.5")
        }
        return try host.start([
            "bash", "-ec",
            """
            trap '\(end)' EXIT
            for time in $(seq \(times)); do
                \(begin)
                sleep \(seconds)
                \(end)
                sleep \(rest)
            done
            trap - EXIT
            """,
        ])
    }

    private var begin: String {
        switch kind {
        case .down: "ip link set lan0 down"
        // A reset itself gets through, or only one end would know.
        case .reset: filter("tcp flags & rst == 0 reject with tcp reset")
        case .silence: filter("drop")
        }
    }

    private var end: String { kind == .down ? "ip link set lan0 up" : Self.removeFilter }

    /// Ends one whose process was killed.
    static let repair = "ip link set lan0 up; \(removeFilter) 2>/dev/null || true"

    private static let removeFilter = "nft delete table inet disturbance"

    /// Ahead of the lab's own filter, so that what it refuses is not counted there.
    private func filter(_ verdict: String) -> String {
        """
        nft 'table inet disturbance {
            chain input { type filter hook input priority filter - 1; iifname lan0 \(verdict); }
            chain output { type filter hook output priority filter - 1; oifname lan0 \(verdict); }
        }'
        """
    }
}

extension Disturbance: CustomTestStringConvertible {
    var testDescription: String {
        switch course {
        case .once(let seconds): "\(kind), \(seconds) s"
        case .everySecond(let times): "\(kind), \(times) times, every second"
        }
    }
}
