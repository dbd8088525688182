import CulvertRelay
import Foundation

/// What was measured, with its circumstances. Its JSON is what `culvert bench --json` prints.
public struct BenchReport: Sendable, Codable, Equatable {
    /// One run.
    public struct Sample: Sendable, Codable, Equatable {
        /// Delivered.
        public var bytes: Int
        /// From the first byte sent to the news that the last has arrived.
        public var seconds: Double
        /// Seconds of CPU time a GB that the near relay took, and the far one; nil where they are not known.
        public var sendingRelay: Double?
        public var receivingRelay: Double?
        /// Of 64 bytes there and back, with nothing else on the session, and beside the streams.
        public var roundTrips: RoundTrips
        public var roundTripsUnderLoad: RoundTrips

        /// 10⁶ bytes a second.
        public var megabytesPerSecond: Double { Double(bytes) / 1e6 / seconds }
    }

    /// The runs of one setup, and what they came to.
    public struct Row: Sendable, Codable, Equatable {
        public var setup: BenchPlan.Setup
        public var samples: [Sample]
        public var megabytesPerSecond: Summary
        public var sendingRelay: Summary?
        public var receivingRelay: Summary?
        public var possible: Allowance?

        init(_ setup: BenchPlan.Setup, _ samples: [Sample], possible: Allowance?) {
            self.setup = setup
            self.samples = samples
            self.possible = possible
            megabytesPerSecond = Summary(samples.map(\.megabytesPerSecond))!
            sendingRelay = Summary(samples.compactMap(\.sendingRelay))
            receivingRelay = Summary(samples.compactMap(\.receivingRelay))
        }

        /// How much of what is possible came through, 1 being all.
        var share: Double? { possible.map { megabytesPerSecond.median / $0.megabytesPerSecond } }

        /// The median run's.
        func latency(_ which: (Sample) -> RoundTrips, _ figure: (RoundTrips) -> Double) -> Double {
            Summary(samples.map { figure(which($0)) })!.median
        }
    }

    public var version: String
    /// ISO 8601.
    public var date: String
    public var host: HostFacts
    public var limits: HostLimits
    /// `PEER/SERVICE`; nil: two relays on this host.
    public var through: String?
    /// `random`, `zero`, `text`, or a file's path.
    public var data: String
    public var rows: [Row]

    init(_ plan: BenchPlan, _ host: HostFacts, _ limits: HostLimits, _ measured: [(BenchPlan.Setup, [Sample])]) {
        version = culvertVersion
        date = Date.now.ISO8601Format()
        self.host = host
        self.limits = limits
        if case .peer(let service, _) = plan.place { through = service }
        switch plan.data {
        case .pattern(let content): data = content.rawValue
        case .file(let path): data = path
        }
        let isLocal = through == nil
        rows = measured.map { setup, samples in
            Row(setup, samples, possible: Allowance(limits, cores: host.cores, setup, isLocal: isLocal))
        }
    }
}

extension BenchPlan.Setup {
    /// `OpenSSL AES-256-GCM, 1 lane, 4 streams, lz4`, or `OpenSSL with ipsec-mb 1.3.0 AES-256-GCM, …`.
    public var label: String {
        let cipher = sealer == backend.name ? "\(sealer) \(cipher.name)" : "\(backend.name) with \(sealer) \(cipher.name)"
        return "\(cipher), \(lanes) lane\(lanes == 1 ? "" : "s"), \(streams) stream\(streams == 1 ? "" : "s")"
            + (compression == .none ? "" : ", \(compression)")
    }
}

extension BenchReport {
    /// What was done, in one or two sentences.
    var conditions: String {
        let runs = rows.first?.samples.count ?? 0
        let bytes = Summary(rows.flatMap(\.samples).map { Double($0.bytes) / 1e9 })?.median ?? 0
        let content =
            switch data {
            case "random": "random bytes"
            case "zero": "zeros"
            case "text": "text"
            default: "\(URL(filePath: data).lastPathComponent)"
            }
        let way = through.map { "To \($0) over the real link" } ?? "Two relays on this host, UNIX sockets at both ends"
        let alternated = rows.count > 1 ? " of each in alternation" : ""
        return "\(way), \(runs) run\(runs == 1 ? "" : "s")\(alternated) with \(fixed(bytes, 1)) GB of \(content). "
            + "Median (least to most)."
    }
}

/// With so many digits behind the point, whatever the locale.
func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }
