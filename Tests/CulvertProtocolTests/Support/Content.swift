import Glibc

/// The bytes of one direction, computable from any offset. The period is a prime, so that a shift by the size of any buffer
/// is noticed.
struct Content {
    private static let period = 65_521
    private static let bytes: [UInt8] = {
        var random = Seeded(7)
        let once = random.bytes(period)
        return once + once
    }()

    let key: Int

    private func run(from offset: Int, limit: Int) -> ArraySlice<UInt8> {
        let start = (key &* 7919 + offset) % Self.period
        return Self.bytes[start..<start + min(limit, Self.period)]
    }

    func fill(_ spaces: UnsafeBufferPointer<iovec>, from offset: Int, _ count: Int) -> Int {
        forEachRun(spaces, from: offset, count) { memory, run in
            run.withUnsafeBytes { memory.copyMemory(from: $0) }
            return true
        }
        return count
    }

    func matches(_ pieces: UnsafeBufferPointer<iovec>, from offset: Int, _ count: Int) -> Bool {
        forEachRun(pieces, from: offset, count) { memory, run in
            run.withUnsafeBytes { memcmp($0.baseAddress!, memory.baseAddress!, $0.count) == 0 }
        }
    }

    @discardableResult
    private func forEachRun(
        _ pieces: UnsafeBufferPointer<iovec>, from offset: Int, _ count: Int,
        _ body: (UnsafeMutableRawBufferPointer, ArraySlice<UInt8>) -> Bool
    ) -> Bool {
        var offset = offset, rest = count
        for piece in pieces {
            var memory = UnsafeMutableRawBufferPointer(start: piece.iov_base, count: min(piece.iov_len, rest))
            rest -= memory.count
            while !memory.isEmpty {
                let run = run(from: offset, limit: memory.count)
                guard body(UnsafeMutableRawBufferPointer(rebasing: memory[..<run.count]), run) else { return false }
                memory = UnsafeMutableRawBufferPointer(rebasing: memory[run.count...])
                offset += run.count
            }
        }
        return true
    }
}
