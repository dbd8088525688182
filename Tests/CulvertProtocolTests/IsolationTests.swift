import Testing

@testable import CulvertProtocol

/// A stream that stands still costs the others nothing, and memory stays within its bounds.
@Suite struct IsolationTests {
    /// What the windows of one stream may come to hold at one end, chunks that are partly filled included.
    private func most(_ window: Int, streams: Int = 1) -> Int { streams * (2 * window + 6 * Chunk.size) }

    @Test func twoStreamsThatFillAllWindowsGoOn() {
        let pair = SessionPair { $0.streamWindow = 300_000 }
        let transfers = Transfers(pair)
        let streams = [transfers.add(up: 3_000_000, down: 3_000_000), transfers.add(up: 3_000_000, down: 3_000_000)]
        let directions = streams.flatMap { [$0.up, $0.down] }
        for direction in directions { direction.readerStopped = true }
        pair.run(for: 2_000_000_000)
        // Everything is full: what was sent fills the far window, what was not the near one.
        for direction in directions {
            #expect(direction.received == 0 && direction.written >= 300_000)
            #expect(direction.written <= 600_000)
        }
        let full = directions.map(\.written)
        pair.run(for: 1_000_000_000)
        #expect(directions.map(\.written) == full)
        for direction in directions { direction.readerStopped = false }
        transfers.finish("both directions")
    }

    @Test func aReaderThatStopsHaltsItsOwnStreamOnly() {
        let pair = SessionPair { $0.streamWindow = 1 << 20 }
        let transfers = Transfers(pair)
        let (halted, back) = transfers.add(up: 10_000_000, down: 500_000)
        halted.readerStopped = true
        pair.run(for: 1_000_000_000)
        let (other, _) = transfers.add(up: 20_000_000, down: 20_000_000)
        pair.run("the other stream") { other.isDone }
        // Its own other direction goes on too.
        #expect(back.isDone)
        #expect(halted.received == 0 && halted.written < 3 << 20)
        #expect(halted.sink!.undelivered <= 1 << 20)
        #expect(halted.source!.unacknowledged <= 1 << 20)
        for peak in transfers.peak { #expect(peak <= most(1 << 20, streams: 2)) }
        halted.readerStopped = false
        transfers.finish("the halted stream")
    }

    @Test func aStoppedReaderHoldsNoMoreThanTheFirstWindow() {
        let pair = SessionPair()
        let transfers = Transfers(pair)
        let (halted, _) = transfers.add(up: 50_000_000)
        halted.readerStopped = true
        pair.run(for: 1_000_000_000)
        // Windows grow for readers only.
        #expect(halted.sink!.undelivered == ReceiveWindow.initial)
        #expect(pair.listener.pool.inUse <= ReceiveWindow.initial + 2 * Chunk.size)
        halted.readerStopped = false
        transfers.finish("the halted stream")
    }

    @Test func manyStoppedReadersStayWithinTheBudget() {
        let budget = 4 << 20, streams = 60
        let pair = SessionPair(budget: budget)
        let transfers = Transfers(pair)
        let halted = (0..<streams).map { _ in transfers.add(up: 1_000_000, down: 1_000_000) }
        for stream in halted { (stream.up.readerStopped, stream.down.readerStopped) = (true, true) }
        pair.run(for: 2_000_000_000)
        for (end, peak) in zip(pair.ends, transfers.peak) {
            #expect(end.budget.used <= budget)
            // Beyond the budget each stream has a guaranteed part in either direction, in chunks of which the outermost
            // may be partly filled.
            #expect(peak <= budget + streams * 5 * Chunk.size)
        }
        // All have come as far as is guaranteed.
        for stream in halted {
            for direction in [stream.up, stream.down] {
                #expect(direction.written >= ReceiveWindow.guaranteed)
                #expect(direction.sink!.undelivered >= ReceiveWindow.guaranteed)
            }
        }
        for stream in halted { (stream.up.readerStopped, stream.down.readerStopped) = (false, false) }
        transfers.finish("all")
    }

    @Test func aBudgetOfNothingLetsEveryStreamFinish() {
        let pair = SessionPair(budget: 0)
        let transfers = Transfers(pair)
        for _ in 0..<20 { _ = transfers.add(up: 300_000, down: 300_000) }
        transfers.finish("all")
        #expect(transfers.peak.allSatisfy { $0 <= 20 * 5 * Chunk.size })
    }

    /// Two sessions of one relay: what one holds, the other cannot have, until it is free.
    @Test func starvationEndsWhenMemoryIsFree() throws {
        let peer = try ScriptedPeer(initialCredit: 0, budget: 2 << 20)
        let first = peer.open(first: []), second = peer.open(first: [])
        while case let space = peer.session.space(first), space > 0 {
            peer.write(first, [UInt8](repeating: 0, count: space))
        }
        #expect(first.unacknowledged >= SessionConfiguration.readAhead)
        // What is left of the budget, taken by somebody else.
        let foreign = peer.budget.limit - peer.budget.used
        peer.budget.adjust(by: foreign)
        let guaranteed = peer.session.space(second)
        #expect(guaranteed == Chunk.capacity)
        peer.write(second, [UInt8](repeating: 0, count: guaranteed))
        #expect(peer.session.space(second) == 0)
        _ = peer.takeEvents()
        for _ in 0..<5 {
            #expect(peer.session.deadline <= peer.now + SessionConfiguration.memoryRetry)
            peer.pass(SessionConfiguration.memoryRetry)
            #expect(peer.events() == [])
        }
        peer.budget.adjust(by: -foreign)
        peer.pass(SessionConfiguration.memoryRetry)
        #expect(peer.takeEvents().contains { if case .writable(let stream) = $0 { stream === second } else { false } })
        #expect(peer.session.space(second) > 0)
    }
}
