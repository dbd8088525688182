import CulvertIO
import Foundation
import Testing

@testable import CulvertRelay

/// Thousands of streams whose every byte is known, over every kind of socket and in both directions at once.
@Suite(.serialized, .fewAtOnce) struct IntegrityTests {
    /// Seeds that once found something, and one that nobody has tried. CULVERT_SEED repeats a failure.
    static let seeds: [UInt64] =
        ProcessInfo.processInfo.environment["CULVERT_SEED"].flatMap(UInt64.init).map { [$0] }
        ?? [1, 2, 3, .random(in: 4 ... 1 << 32)]

    @Test(arguments: seeds)
    func everyByteArrivesOnceInOrderOrTheStreamIsReset(seed: UInt64) async throws {
        var sketches: [RouteSketch] = []
        try await withPair { setup in
            sketches = try RouteSketch.everyKind(in: &setup)
            // The least window, and one that grows.
            setup.limit { $0.streamWindow = seed % 2 == 0 ? 64 << 10 : 2 << 20 }
        } run: { pair in
            try await pair.connected()
            let routes = sketches.map { $0.route(through: pair) }
            var random = Randomness(seed: seed)
            let plans = (0..<scaled(500)).map { _ in
                let route = Int.random(in: routes.indices, using: &random)
                return StreamPlan.random(
                    route: route, speaksFirst: routes[route].identifies, largest: 2 << 20, using: &random)
            }
            let pattern = Pattern(seed: seed)

            let run = try await onThread {
                var traffic = Traffic(plans, over: routes, pattern: pattern)
                try traffic.run(atOnce: 48)
                return Transferred(traffic)
            }
            try await pair.settle()
            let report = try await onThread {
                var traffic = run.take()
                try traffic.finish()
                return TrafficReport(traffic.streams.values, routes)
            }
            #expect(report.faults.isEmpty, "CULVERT_SEED=\(seed) repeats it")
            let resets = await pair.a.status().peers[0].streamsReset
            #expect(report.cut <= resets, "every stream that was cut was reset; CULVERT_SEED=\(seed)")
            print("seed \(seed): \(report), \(resets) reset")
        }
    }
}
