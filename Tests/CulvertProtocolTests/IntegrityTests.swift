import Testing

@testable import CulvertProtocol

/// Thousands of streams whose every byte is compared at the other end.
@Suite struct IntegrityTests {
    /// Sizes, chunks, half-closes and resets of each stream are random, and so are the ranges that arrive, what the
    /// local sides take, and the room of the lane.
    @Test(arguments: Seeds.list(12))
    func everyByteArrivesOnceInOrderOrTheStreamIsReset(seed: UInt64) {
        var random = Seeded(seed)
        let weather = Weather.random(using: &random)
        let pair = SessionPair(seed: seed, weather: weather, budget: random.chance(25) ? 4 << 20 : 1 << 30) {
            $0.streamWindow = [64 << 10, 300_000, 8 << 20][Int(seed % 3)]
        }
        let traffic = Traffic(pair, streams: weather.cut == .crumbs ? 60 : 300)
        traffic.run()
        traffic.check()
    }

    @Test func aNetworkWithoutDelayCarriesManyStreams() {
        let pair = SessionPair(seed: 1, weather: Weather(latency: 0))
        let traffic = Traffic(pair, streams: 1500, atOnce: 500)
        traffic.run()
        traffic.check()
    }
}
