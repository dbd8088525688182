import Testing

@testable import CulvertProtocol

/// Windows grow where the path needs it and stay small where it does not.
@Suite struct WindowTests {
    /// The nanoseconds that a transfer takes, and the largest window of its reader.
    private func transfer(
        _ bytes: Int, latency: UInt64, rate: UInt64, budget: Int = 1 << 30
    ) -> (time: UInt64, window: Int) {
        let pair = SessionPair(weather: Weather(latency: latency, rate: rate), budget: budget)
        let transfers = Transfers(pair)
        // The first ping measures the round trip.
        pair.run("round trip") { pair.ends.allSatisfy { $0.session.roundTrip != nil } }
        let (up, _) = transfers.add(up: bytes)
        let start = pair.now
        var window = 0
        pair.run("transfer") {
            window = max(window, up.sink?.receive.window.size ?? 0)
            return up.received == bytes
        }
        let time = pair.now - start
        transfers.finish("end")
        return (time, window)
    }

    @Test func aLongPathIsFilled() {
        // 200 MB/s over 40 ms there and back: 8 MB are on the way.
        let (time, window) = transfer(100_000_000, latency: 20_000_000, rate: 200_000_000)
        #expect(window == 16 << 20)
        #expect(time < 800_000_000)
    }

    @Test func aShortPathKeepsItsWindow() {
        // 1 GB/s over 0.2 ms: 200 KB are on the way.
        let (time, window) = transfer(100_000_000, latency: 100_000, rate: 1_000_000_000)
        #expect(window <= 1 << 20)
        #expect(time < 120_000_000)
    }

    /// Twice what the reader takes in a round trip is enough, however fast the path and whatever waits.
    @Test func aSlowReaderKeepsItsWindow() {
        let pair = SessionPair(weather: Weather(latency: 20_000_000, rate: 1_000_000_000)) { $0.streamWindow = 256 << 20 }
        let transfers = Transfers(pair)
        pair.run("round trip") { pair.ends.allSatisfy { $0.session.roundTrip != nil } }
        let (up, _) = transfers.add(up: 100_000_000)
        let start = pair.now
        // 20 MB/s: 800 KB in a round trip.
        pair.onStep = { up.limit = Int(pair.now - start) / 50 }
        pair.run(for: 2_000_000_000)
        #expect(up.received > 35_000_000 && up.written < up.received + 5_000_000)
        #expect(up.sink?.receive.window.size == 2 << 20)
        // Nor does one that halts.
        pair.onStep = {}
        pair.run(for: 2_000_000_000)
        #expect(up.sink!.receive.window.size <= 2 << 20 && up.sink!.undelivered <= 4 << 20)
        up.limit = .max
        transfers.finish("end")
    }

    /// One stream cannot take what others need to begin: none may be larger than what is left.
    @Test func windowsLeaveRoomForOthers() {
        let pair = SessionPair(weather: Weather(latency: 20_000_000, rate: 1_000_000_000), budget: 64 << 20) {
            $0.streamWindow = 256 << 20
        }
        let transfers = Transfers(pair)
        pair.run("round trip") { pair.ends.allSatisfy { $0.session.roundTrip != nil } }
        let (first, _) = transfers.add(up: 300_000_000)
        pair.run("first") { first.received > 150_000_000 }
        let sole = first.sink!.receive.window.size
        #expect(sole > 30 << 20 && sole <= 33 << 20)
        let (second, _) = transfers.add(up: 300_000_000)
        pair.run("second") { second.received > 150_000_000 }
        #expect(second.sink!.receive.window.size > 10 << 20)
        transfers.finish("end")
    }

    /// A stream that nothing came on has no use for more than what is guaranteed, and others have.
    @Test func idleStreamsLeaveMostOfTheBudget() {
        func time(idle: Int) -> UInt64 {
            // 1 GB/s over 20 ms there and back: 20 MB are on the way.
            let pair = SessionPair(weather: Weather(latency: 10_000_000, rate: 1_000_000_000), budget: 512 << 20)
            let transfers = Transfers(pair)
            pair.run("round trip") { pair.ends.allSatisfy { $0.session.roundTrip != nil } }
            let streams = (0..<idle).map { _ in pair.dialler.session.open(service: "idle", now: pair.now) }
            pair.run("idle") { pair.listener.session.streamCount == idle }
            for end in pair.ends { #expect(end.budget.used <= 256 << 20) }
            let (up, _) = transfers.add(up: 100_000_000)
            let start = pair.now
            pair.run("transfer") { up.received == up.total }
            #expect(streams.allSatisfy { !$0.isGone })
            return pair.now - start
        }
        let alone = time(idle: 0), among = time(idle: 2000)
        #expect(among < alone * 3 / 2, "\(alone) ns alone, \(among) ns among 2,000")
    }

    @Test func aFullBudgetKeepsWindowsAtTheirMinimum() {
        let (_, window) = transfer(3_000_000, latency: 5_000_000, rate: 200_000_000, budget: 0)
        #expect(window == ReceiveWindow.guaranteed)
    }

    @Test func aWindowDoublesOnlyWhenItIsUsedUpInTwoRoundTrips() {
        var window = ReceiveWindow(now: 0)
        let size = UInt64(window.size)
        #expect(window.growth(delivered: size - 1, now: 10, roundTrip: 1000, maximum: 1 << 20) == 0)
        #expect(window.growth(delivered: size, now: 1999, roundTrip: 1000, maximum: 1 << 20) == Int(size))
        #expect(window.growth(delivered: 2 * size, now: 3999, roundTrip: 1000, maximum: 1 << 20) == 0)
        #expect(window.growth(delivered: 3 * size, now: 5998, roundTrip: 1000, maximum: 1 << 20) == Int(size))
        #expect(window.growth(delivered: 4 * size, now: 5999, roundTrip: nil, maximum: 1 << 20) == 0)
    }

    @Test func aWindowGrowsNoFurtherThanItMay() {
        var window = ReceiveWindow(now: 0)
        let size = window.size
        #expect(window.growth(delivered: UInt64(size), now: 0, roundTrip: 1000, maximum: size + 5) == 5)
        window.grow(by: 5)
        #expect(window.growth(delivered: UInt64(3 * size), now: 0, roundTrip: 1000, maximum: size + 5) == 0)
        #expect(window.growth(delivered: UInt64(5 * size), now: 0, roundTrip: 1000, maximum: 0) == 0)
    }

    @Test func aWindowThatIsNotUsedShrinksToWhereItBegan() {
        let pair = SessionPair(weather: Weather(latency: 20_000_000, rate: 200_000_000))
        let transfers = Transfers(pair)
        pair.run("round trip") { pair.ends.allSatisfy { $0.session.roundTrip != nil } }
        let (up, _) = transfers.add(up: 60_000_000)
        pair.run("most") { up.received > 50_000_000 }
        #expect(up.sink?.receive.window.size == 16 << 20)
        up.writerStopped = true
        pair.run(for: 30_000_000_000)
        #expect(up.sink?.receive.window.size == ReceiveWindow.initial)
        up.writerStopped = false
        transfers.finish("end")
    }

    @Test func aWindowThatIsUsedDoesNotShrink() {
        var window = ReceiveWindow(now: 0)
        window.grow(by: 4 << 20)
        let size = window.size
        window.shrink(delivered: 0, now: ReceiveWindow.idle - 1, roundTrip: nil)
        window.shrink(delivered: 0, now: 3 * ReceiveWindow.idle, roundTrip: ReceiveWindow.idle)
        window.shrink(delivered: UInt64(size / 4), now: 10 * ReceiveWindow.idle, roundTrip: nil)
        #expect(window.size == size)
        window.shrink(delivered: UInt64(size / 2) - 1, now: 20 * ReceiveWindow.idle, roundTrip: nil)
        #expect(window.size == size / 2)
    }

    /// A clock that is read in two places may seem to step back a little.
    @Test func aClockThatStepsBackDoesNoHarm() {
        var window = ReceiveWindow(now: 5000)
        #expect(window.growth(delivered: UInt64(window.size), now: 4000, roundTrip: 1000, maximum: 1 << 20) > 0)
    }
}
