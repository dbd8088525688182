import Testing

@testable import CulvertProtocol

/// Several lanes carry one stream.
@Suite struct LaneTests {
    private func pair(lanes: Int, weather: Weather, window: Int = 64 << 20) -> (SessionPair, Transfers) {
        let pair = SessionPair(weather: weather) { $0.streamWindow = window }
        let transfers = Transfers(pair)
        pair.run("round trip") { pair.ends.allSatisfy { $0.session.roundTrip != nil } }
        for _ in 1..<lanes { pair.connect() }
        pair.run("lanes") { pair.ends.allSatisfy { $0.session.lanes.count == lanes && $0.session.lanes.allSatisfy(\.isGreeted) } }
        return (pair, transfers)
    }

    @Test func oneStreamUsesAllLanes() {
        // 100 MB/s each, 10 ms there and back.
        let (pair, transfers) = pair(lanes: 4, weather: Weather(latency: 5_000_000, rate: 100_000_000))
        let start = pair.now
        let (up, _) = transfers.add(up: 200_000_000)
        pair.run("transfer") { up.received == up.total }
        let time = pair.now - start
        // Half a second if all are full; windows have to grow first.
        #expect(time < 600_000_000, "\(time) ns")
        for wire in pair.wires { #expect(wire.carried[0] > 40_000_000) }
        transfers.finish("end")
    }

    @Test func aLaneThatSilentlyFailsIsCoveredByTheOthers() {
        let (pair, transfers) = pair(lanes: 2, weather: Weather(latency: 5_000_000, rate: 100_000_000))
        let (up, _) = transfers.add(up: 200_000_000)
        pair.run("half") { up.received > 50_000_000 }
        pair.wires[1].isBlocked = true
        let start = pair.now
        pair.run("transfer") { up.received == up.total }
        // 1.5 s at the rate of one lane, and what it takes to notice: not the keepalive's 5 s.
        #expect(pair.now - start < 2_400_000_000, "\(pair.now - start) ns")
    }

    @Test func aLaneOfTenTimesTheDelayHoldsUpLittle() {
        let (pair, transfers) = pair(lanes: 2, weather: Weather(latency: 2_000_000, rate: 100_000_000))
        pair.wires[1].latency = 20_000_000
        let start = pair.now
        let (up, _) = transfers.add(up: 100_000_000)
        pair.run("transfer") { up.received == up.total }
        // One lane alone takes a second.
        #expect(pair.now - start < 1_000_000_000, "\(pair.now - start) ns")
        transfers.finish("end")
    }

    @Test func opensKeepTheirOrderOnManyLanes() {
        let (pair, transfers) = pair(lanes: 4, weather: Weather(latency: 1_000_000))
        pair.wires[0].latency = 7_000_000
        for _ in 0..<200 { _ = transfers.add(up: 3000, down: 10) }
        transfers.finish("streams")
    }

    @Test func lanesComeAndGo() {
        let (pair, transfers) = pair(lanes: 3, weather: Weather(latency: 3_000_000, rate: 50_000_000))
        let (up, down) = transfers.add(up: 60_000_000, down: 60_000_000)
        for share in 1...8 {
            pair.run("share \(share)") { up.received + down.received > share * 12_000_000 }
            let alive = pair.wires.filter { !$0.isCut }
            pair.cut(alive[0])
            pair.connect(replacing: alive[0])
        }
        transfers.finish("end")
    }
}
