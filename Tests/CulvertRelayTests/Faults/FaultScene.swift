import CLinux
import CulvertCompression
import CulvertIO
import Foundation

@testable import CulvertRelay

/// Two relays that live through the weather of one seed after the other.
struct FaultScene: Sendable {
    /// Within which everything that a seed starts is over.
    private static let limit = Duration.seconds(30)
    private static let mostLanes = 4
    /// What costs no lane: well below what the relays' limits leave beside the time between pings.
    private static let harmlessStandstill = Duration.milliseconds(300)

    private let pair: RelayPair
    private let journal: Journal
    private let routes: [TrafficRoute]
    private let sides: [Side]
    private let names: [String]
    private let pattern = Pattern(seed: 1)
    private let standstill: Standstill

    struct Outcome: Sendable {
        /// Seeds in which streams may have been lost because nothing ran for a while.
        var stoodStill = 0
        var streams = 0
        var cut = 0
        var bytes = 0
        var counts = clinux_fault_counts()
        var faults: [String] = []
    }

    /// Whether streams of the scene leave their session as soon as they have said a little.
    static func splices(_ number: Int) -> Bool { number % 5 >= 3 }

    /// - Parameter number: what is drawn once, for all seeds of a scene: how long sessions live, and how much they hold.
    static func run(_ number: Int, _ body: (FaultScene) async throws -> Void) async throws {
        let journal = Journal(), sides: [Side] = [.a, .a, .a, .b, .b, .b]
        let names = sides.indices.map { "r\($0)" }
        var listeners: [PlainSocket] = []
        let echo = try Target.echo(), standstill = Standstill()
        defer { standstill.end() }
        try await withPair { setup in
            setup.journal = journal
            for (name, side) in zip(names, sides) {
                let target = setup.directory.socket("to-\(name)")
                listeners.append(try PlainSocket.listen(target))
                setup.route(name, to: target, from: side)
            }
            for side in Side.allCases { setup.route("echo-\(side)", to: echo.endpoint, from: side) }
            if splices(number) {
                setup.a.peers[0].protection = .none
                setup.b.peers[0].protection = .none
            }
            setup.a.loops = 1 + number % 3
            setup.b.loops = 1 + number / 2 % 3
            setup.limit { limits in
                limits.keepalive = .seconds(1)
                limits.handshakeTimeout = .seconds(1)
                limits.sessionTimeout = [.milliseconds(300), .seconds(2), .zero, .seconds(5)][number % 4]
                limits.streamWindow = [64 << 10, 1 << 20][number % 2]
                limits.openWait = .milliseconds(number % 3)
                limits.bulk = 16 << 10
                limits.bypassSegment = 64 << 10
            }
        } run: { pair in
            let routes = zip(names, listeners).map { name, listener in
                TrafficRoute(near: pair.endpoint(name), far: pair.directory.socket("to-\(name)"), listener: listener, identifies: false)
            }
            try await body(FaultScene(
                pair: pair, journal: journal, routes: routes, sides: sides, names: names, standstill: standstill))
        }
    }

    private init(
        pair: RelayPair, journal: Journal, routes: [TrafficRoute], sides: [Side], names: [String], standstill: Standstill
    ) {
        self.pair = pair
        self.journal = journal
        self.routes = routes
        self.sides = sides
        self.names = names
        self.standstill = standstill
    }

    // MARK: One seed

    /// - Parameter largest: most bytes that a program says.
    func live(through seed: UInt64, largest: Int = 256 << 10) async throws -> Outcome {
        var random = Randomness(seed: seed)
        _ = standstill.take()
        let lanes = Int.random(in: 1...Self.mostLanes, using: &random)
        try await reload(lanes: lanes, CompressionMode.allCases.randomElement(using: &random)!)
        try await carries(from: .a)
        // Some start on all lanes; others while they are made.
        if random.chance(70) { try await lanesStand(lanes) }
        _ = journal.take()

        let weather = Weather(seed: seed, using: &random)
        let used = routes.indices.shuffled(using: &random).prefix(Int.random(in: 1...routes.count, using: &random))
        let plans = used.map { route in
            StreamPlan.random(route: route, speaksFirst: true, largest: largest, using: &random)
        }
        let (routes, pattern) = (routes, pattern)
        var (traffic, counts) = try await onThread {
            clinux_begin_faults(weather.plan)
            defer { _ = clinux_end_faults() }
            let calm = ContinuousClock.now + weather.duration
            var traffic = try FaultTraffic(plans, over: routes, pattern: pattern)
            var counts: clinux_fault_counts?
            try traffic.run(within: Self.limit) {
                if counts == nil, ContinuousClock.now >= calm { counts = clinux_end_faults() }
            }
            return (Transferred(traffic), counts ?? clinux_end_faults())
        }
        // A connection may come out late, when its client has left.
        func serveTheRest() async throws {
            let late = traffic
            traffic = try await onThread {
                var traffic = late.take()
                try traffic.run(within: Self.limit)
                return Transferred(traffic)
            }
        }
        do {
            try await pair.settle(within: Self.limit) { try await serveTheRest() }
        } catch {
            throw Failure("\(error); at its ends:\n" + traffic.take().streams.map { "\($0)" }.joined(separator: "\n"))
        }
        try await serveTheRest()
        let streams = traffic.take().streams
        // Lanes that are silent for a second are lost, also if it is this process that was.
        let stoodStill = standstill.take() >= Self.harmlessStandstill
        let isHarmless = counts.reset == 0 && counts.corrupt == 0 && !stoodStill
        let verdict = FaultVerdict(streams, sides: sides, names: names, journal: journal.entries, isHarmless: isHarmless)
        return Outcome(
            stoodStill: stoodStill ? 1 : 0, streams: streams.count, cut: verdict.cut,
            bytes: streams.reduce(0) { $0 + $1.client.heard + ($1.server?.heard ?? 0) }, counts: counts, faults: verdict.faults)
    }

    /// What the relays said while the last seed was on, and what they have left.
    func report() async -> String {
        let left = await pair.streams().map { "\nleft: \($0)" }
        return (journal.entries.map { "\n\($0)" } + left).joined()
    }

    // MARK: Fair weather

    /// Lanes are added or closed; those that are missing are made now.
    private func reload(lanes: Int, _ compression: CompressionMode) async throws {
        var settings = pair.setup.a
        settings.peers[0].lanes = lanes
        settings.peers[0].compression = compression
        try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
    }

    /// A stream goes through and back. The first ones may meet what is left of the session before.
    private func carries(from side: Side) async throws {
        try await eventually("the relays are of use", within: Self.limit) {
            (try? await Bystander(pair.connect("echo-\(side)")).finish()) != nil
        }
    }

    private func lanesStand(_ count: Int) async throws {
        try await eventually("\(count) lanes stand", within: Self.limit) {
            let (a, b) = await (pair.a.status().peers[0].sessions, pair.b.status().peers[0].sessions)
            return a.count == 1 && b.count == 1 && a[0].lanes.filter { $0.rtt != nil }.count == count
                && b[0].lanes.count == count
        }
    }

    /// Both relays carry streams again, on all lanes and without any that is left of what was.
    func recover() async throws {
        try await reload(lanes: 1, .none)
        try await reload(lanes: Self.mostLanes, .none)
        for side in Side.allCases { try await carries(from: side) }
        try await lanesStand(Self.mostLanes)
        let (routes, pattern) = (routes, pattern)
        try await pair.settle(within: Self.limit) {
            // A relay that could not accept for a while may do so now, when the client of an earlier seed has left.
            try await onThread {
                var late = try FaultTraffic([], over: routes, pattern: pattern)
                try late.run(within: Self.limit)
            }
        }
    }
}

extension FaultScene.Outcome: CustomStringConvertible {
    mutating func add(_ other: Self) {
        stoodStill += other.stoodStill
        streams += other.streams
        cut += other.cut
        bytes += other.bytes
        counts.partial += other.counts.partial
        counts.unready += other.counts.unready
        counts.reset += other.counts.reset
        counts.corrupt += other.counts.corrupt
        counts.spliced += other.counts.spliced
        counts.accept += other.counts.accept
        counts.connect += other.counts.connect
        faults += other.faults
    }

    var description: String {
        "\(streams) streams (\(cut) cut), \(bytes >> 20) MiB; faults: \(counts.partial) partial, \(counts.unready) unready, "
            + "\(counts.reset) resets, \(counts.corrupt) corrupt, \(counts.spliced) of them spliced; \(counts.accept) accepting, "
            + "\(counts.connect) connecting" + (stoodStill > 0 ? "; stood still in \(stoodStill) seeds" : "")
    }
}
