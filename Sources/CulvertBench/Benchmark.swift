import BenchSockets
import CulvertCompression
import CulvertDaemon
import CulvertIO
import CulvertTLS
import Foundation

/// Carries out a plan.
public struct Benchmark: Sendable {
    private let plan: BenchPlan
    private let scratch: Scratch
    /// Told what happens, often, from several threads.
    private let progress: @Sendable (String) -> Void

    public init(_ plan: BenchPlan, in scratch: Scratch, progress: @escaping @Sendable (String) -> Void) {
        self.plan = plan
        self.scratch = scratch
        self.progress = progress
    }

    /// Blocks until everything is measured.
    public func run() throws -> BenchReport {
        try plan.validate()
        try checkDescriptors()
        let host = HostFacts.current()
        let credentials = try Credentials(in: scratch.path)
        let pattern =
            switch plan.data {
            case .pattern(let content): Pattern(content)
            case .file(let path): try Pattern(file: path)
            }
        let setups = try resolvedSetups(credentials)
        let limits = try HostLimits.measure(
            bytes: plan.probeBytes, setups, credentials, in: scratch.path, progress: progress)
        let samples =
            switch plan.place {
            case .local(let program): try measureLocally(program, setups, pattern, credentials)
            case .peer(let service, let admin): try measure(PeerRoute(service: service, admin: admin), setups, pattern)
            }
        return BenchReport(plan, host, limits, Array(zip(setups, samples)))
    }

    /// Found out before minutes of measuring rather than after.
    private func checkDescriptors() throws {
        let streams = plan.setups.map(\.streams).max() ?? 0
        let endsHere = if case .local = plan.place { 2 } else { 1 }
        let needed = streams * endsHere + Self.otherDescriptors
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < needed else { return }
        throw BenchError("\(streams) streams take \(needed) descriptors here, and there may be \(limit.rlim_cur): see 'ulimit -n'")
    }

    /// More than the program has open besides streams.
    private static let otherDescriptors = 64

    /// With what TLS comes to on this host. With a running relay, TLS, lanes and compression are what it has.
    private func resolvedSetups(_ credentials: Credentials) throws -> [BenchPlan.Setup] {
        guard case .peer(let service, let admin) = plan.place else {
            return try plan.setups.map { asked in
                var setup = asked
                setup.adopt(try EnginePair(setup, credentials).summary)
                return setup
            }
        }
        let name = service.prefix { $0 != "/" }
        guard let peer = try admin.status().peers.first(where: { $0.name == name }) else {
            throw BenchError("the relay at \(admin.path) has no peer '\(name)'; 'culvert status' lists them")
        }
        guard let session = peer.sessions.first, let lane = session.lanes.first else {
            throw BenchError("there is no session with \(name): \(peer.lastError ?? "it has not connected yet")")
        }
        return plan.setups.map { asked in
            var setup = asked
            setup.adopt(lane.tls)
            setup.lanes = session.lanes.count
            setup.compression = CompressionMode(rawValue: session.compression.mode) ?? .none
            return setup
        }
    }

    // MARK: Runs

    private func measureLocally(
        _ program: String, _ setups: [BenchPlan.Setup], _ pattern: Pattern, _ credentials: Credentials
    ) throws -> [[BenchReport.Sample]] {
        let exit = "\(scratch.path)/exit.sock"
        let server = try BenchServer(on: .unix(path: exit))
        let serving = Worker { try server.run() }
        defer {
            server.stop()
            _ = try? serving.value()
        }
        return try alternate(setups) { setup, label in
            let relays = try RelayPair(setup, program: program, exit: exit, credentials: credentials, in: scratch)
            defer { relays.stop() }
            do {
                return try sample(relays.route, setup, pattern, label)
            } catch {
                throw BenchError("\(error); the relays' last words:\n\(relays.log)")
            }
        }
    }

    private func measure(
        _ route: PeerRoute, _ setups: [BenchPlan.Setup], _ pattern: Pattern
    ) throws -> [[BenchReport.Sample]] {
        try alternate(setups) { setup, label in
            do {
                return try sample(route, setup, pattern, label)
            } catch {
                guard let reason = route.lastReset else { throw error }
                throw BenchError("\(route.service): \(reason); does it lead to 'culvert bench serve'?")
            }
        }
    }

    /// One run of each setup, then the next of each, so that what else the machine does falls on all alike.
    private func alternate(
        _ setups: [BenchPlan.Setup], _ measure: (BenchPlan.Setup, String) throws -> BenchReport.Sample
    ) throws -> [[BenchReport.Sample]] {
        var samples = setups.map { _ in [BenchReport.Sample]() }
        for run in 1 ... plan.runs {
            for (index, setup) in setups.enumerated() {
                samples[index].append(try measure(setup, "run \(run) of \(plan.runs), \(setup.label)"))
            }
        }
        return samples
    }

    private func sample(
        _ route: any Route, _ setup: BenchPlan.Setup, _ pattern: Pattern, _ label: String
    ) throws -> BenchReport.Sample {
        let probe = Probe(route: route)
        progress("\(label): verifying")
        try probe.verify(pattern)
        progress("\(label): round trips alone")
        let idle = try probe.roundTrips(plan.requests, within: plan.requestTime)

        var bulk = Bulk(route: route, pattern: pattern, streams: setup.streams, extent: plan.extent)
        let before = try probe.relayTime()
        let outcome = try watched(label) { try bulk.run($0) }
        let after = try probe.relayTime()

        progress("\(label): round trips while the streams send")
        bulk = Bulk(route: route, pattern: pattern, streams: setup.streams, extent: .bytes(.max))
        let loaded = try probe.roundTrips(plan.requests, within: plan.requestTime, during: bulk)

        func perGigabyte(_ before: Double?, _ after: Double?) -> Double? {
            guard let before, let after else { return nil }
            return (after - before) / (Double(outcome.bytes) / 1e9)
        }
        return BenchReport.Sample(
            bytes: outcome.bytes, seconds: outcome.seconds,
            sendingRelay: perGigabyte(before.near, after.near), receivingRelay: perGigabyte(before.far, after.far),
            roundTrips: idle, roundTripsUnderLoad: loaded)
    }

    /// Shows the rate while `body` runs.
    private func watched<Value>(_ label: String, _ body: (Bulk.Gauge) throws -> Value) rethrows -> Value {
        let gauge = Bulk.Gauge()
        let timer = DispatchSource.makeTimerSource()
        let started = Clock.now
        timer.schedule(deadline: .now() + 0.25, repeating: 0.25)
        timer.setEventHandler { [progress] in
            let sent = Double(gauge.sent)
            let rate = sent / 1e6 / (Clock.now - started)
            progress("\(label): \(Int(sent / 1e6)) MB, \(Int(rate)) MB/s")
        }
        timer.resume()
        defer { timer.cancel() }
        return try body(gauge)
    }
}
