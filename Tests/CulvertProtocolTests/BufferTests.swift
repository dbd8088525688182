import Glibc
import Testing

@testable import CulvertProtocol

@Suite struct BufferTests {
    /// Does what a byte queue does on a plain array.
    private struct Model {
        var bytes: [UInt8] = []
        var start: UInt64 = 0
        var end: UInt64 { start + UInt64(bytes.count) }
    }

    /// Random operations on a byte queue and on its model have the same result.
    @Test(arguments: Seeds.list(20))
    func aByteQueueHoldsWhatAnArrayHolds(seed: UInt64) {
        var random = Seeded(seed)
        let pool = ChunkPool()
        do {
            var queue = ByteQueue(pool: pool)
            var model = Model()
            for _ in 0..<60 {
                let size = [10, 5000, 200_000][min(random.below(3), random.below(5))]
                switch random.below(5) {
                case 0: append(&queue, &model, random.below(size), &random)
                case 1: write(&queue, &model, upTo: 1 + random.below(size), &random)
                case 2, 3:
                    let count = min(model.bytes.count, random.below(size))
                    queue.release(upTo: model.start + UInt64(count))
                    model.bytes.removeFirst(count)
                    model.start += UInt64(count)
                default:
                    guard queue.isEmpty else { continue }
                    model.start += UInt64(random.below(size))
                    queue.skip(to: model.start)
                }
                check(queue, model, &random, "seed \(seed)")
                #expect(pool.inUse == queue.allocated, "seed \(seed)")
            }
        }
        #expect(pool.inUse == 0)
    }

    @Test func aPoolGivesBackThePagesOfWhatIsNotNeeded() {
        let pool = ChunkPool()
        let chunks = (0..<8).map { _ in pool.take() }
        for chunk in chunks { chunk.memory.storeBytes(of: 7, as: UInt8.self) }
        pool.rest()
        for chunk in chunks { pool.give(chunk) }
        pool.rest()
        #expect(pool.cold.isEmpty)
        let two = [pool.take(), pool.take()]
        for chunk in two { pool.give(chunk) }
        pool.rest()
        #expect(pool.cold.count == 6)
        // Their pages are gone: they read as new ones do.
        #expect(pool.cold.allSatisfy { $0.memory.load(as: UInt8.self) == 0 })
        pool.rest()
        #expect(pool.cold.count == 8)
        let again = (0..<8).map { _ in pool.take() }
        #expect(Set(again.map(\.memory)) == Set(chunks.map(\.memory)))
        for chunk in again { pool.give(chunk) }
    }

    private static let stock: [UInt8] = {
        var random = Seeded(9)
        return random.bytes(400_000)
    }()

    private func content(_ count: Int, _ random: inout Seeded) -> [UInt8] {
        let start = random.below(Self.stock.count - count)
        return Array(Self.stock[start..<start + count])
    }

    private func append(_ queue: inout ByteQueue, _ model: inout Model, _ count: Int, _ random: inout Seeded) {
        let bytes = content(count, &random)
        let memory = copy(bytes)
        defer { memory.deallocate() }
        queue.append(memory)
        model.bytes += bytes
    }

    /// Writes less than there is room for, as a socket does.
    private func write(_ queue: inout ByteQueue, _ model: inout Model, upTo limit: Int, _ random: inout Seeded) {
        let bytes = content(random.chance(20) ? 0 : random.below(limit + 1), &random)
        let room = queue.write(upTo: limit) { spaces in
            var rest = bytes[...]
            for space in spaces {
                UnsafeMutableRawBufferPointer(start: space.iov_base, count: space.iov_len)
                    .copyBytes(from: rest.prefix(space.iov_len))
                rest = rest.dropFirst(space.iov_len)
            }
            return (bytes.count, spaces.reduce(0) { $0 + $1.iov_len })
        }
        #expect(room == limit)
        model.bytes += bytes
    }

    private func check(_ queue: borrowing ByteQueue, _ model: Model, _ random: inout Seeded, _ comment: Comment) {
        #expect(queue.start == model.start && queue.end == model.end && queue.count == model.bytes.count, comment)
        // Two chunks may be partly filled, none may be idle.
        #expect(queue.allocated <= (model.bytes.count / Chunk.capacity + 2) * Chunk.size, comment)
        #expect(!queue.isEmpty || queue.allocated == 0, comment)
        let pieces = 1 + random.below(4)
        let read = queue.read(pieces: pieces) { pieces in
            var bytes: [UInt8] = []
            for piece in pieces { bytes += UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len) }
            return bytes
        }
        #expect(read == Array(model.bytes.prefix(read.count)), comment)
        #expect(read.isEmpty == model.bytes.isEmpty, comment)
        guard !queue.isEmpty else { return }
        let skipped = random.below(model.bytes.count), limit = 1 + random.below(100_000)
        let run = queue.contiguous(from: model.start + UInt64(skipped), limit: limit)
        #expect(!run.isEmpty && run.count <= limit, comment)
        #expect(Array(run) == Array(model.bytes[skipped..<skipped + run.count]), comment)
    }

    @Test func aPoolGivesOutFirstWhatWasUsedLast() {
        let pool = ChunkPool()
        let first = pool.take(), second = pool.take()
        #expect(pool.inUse == 2 * Chunk.size)
        pool.give(first)
        pool.give(second)
        #expect(pool.inUse == 0)
        let again = pool.take()
        #expect(again.memory == second.memory)
        pool.give(again)
    }

    @Test(arguments: Seeds.list(5))
    func aFifoHoldsWhatAnArrayHolds(seed: UInt64) {
        var random = Seeded(seed)
        var fifo = Fifo<Int>(), model: [Int] = []
        for step in 0..<5000 {
            // Grows for a while, then shrinks for a while.
            if random.chance(step / 500 % 2 == 0 ? 70 : 30) {
                fifo.append(step)
                model.append(step)
            } else if !model.isEmpty, random.chance(20) {
                #expect(fifo.removeLast() == model.removeLast())
            } else if !model.isEmpty, random.chance(5) {
                let digit = random.below(10)
                fifo[0] = -1
                model[0] = -1
                fifo.removeAll { $0 % 10 == digit }
                model.removeAll { $0 % 10 == digit }
            } else {
                #expect(fifo.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            }
            #expect(fifo.count == model.count && fifo.isEmpty == model.isEmpty && fifo.first == model.first)
            if !model.isEmpty { #expect(fifo[model.count / 2] == model[model.count / 2]) }
        }
    }

    /// Against one flag for each offset.
    @Test(arguments: Seeds.list(20))
    func aRangeListHoldsWhatFlagsHold(seed: UInt64) {
        var random = Seeded(seed)
        var list = RangeList(), model = [Bool](repeating: false, count: 300)
        for _ in 0..<300 {
            if random.chance(90) {
                let start = random.below(model.count), end = min(model.count, start + random.below(20))
                list.insert(UInt64(start)..<UInt64(end))
                for offset in start..<end { model[offset] = true }
            } else {
                let end = random.below(random.chance(80) ? 30 : model.count)
                list.remove(upTo: UInt64(end))
                for offset in 0..<end { model[offset] = false }
            }
            let flat = list.ranges.flatMap { Array($0) }
            #expect(flat == model.indices.filter { model[$0] }.map(UInt64.init), "seed \(seed)")
            #expect(zip(list.ranges, list.ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound }, "seed \(seed)")
            #expect(list.count == list.ranges.count && list.first == list.ranges.first)
        }
    }

    @Test func aBudgetCountsInItsParentToo() {
        let relay = MemoryBudget(limit: 100)
        let first = MemoryBudget(limit: 80, within: relay), second = MemoryBudget(limit: 80, within: relay)
        first.adjust(by: 70)
        #expect(first.used == 70 && second.used == 0 && relay.used == 70)
        #expect(first.hasRoom(for: 10) && !first.hasRoom(for: 11))
        #expect(second.hasRoom(for: 30) && !second.hasRoom(for: 31))
        first.adjust(by: -70)
        #expect(relay.used == 0 && second.hasRoom(for: 80) && !second.hasRoom(for: 81))
    }
}
