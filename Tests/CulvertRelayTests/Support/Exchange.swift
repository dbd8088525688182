import Glibc
import Testing

@testable import CulvertRelay

/// Sends `count` bytes through an echo and compares what comes back.
/// - Parameter pause: what is done when `readBefore` bytes have come back, before more are read.
func exchange(
    _ client: PlainSocket, _ count: Int, readBefore: Int = 0, pause: () async throws -> Void = {}
) async throws {
    var random = Randomness(seed: UInt64(count))
    let period = 1 << 20
    let once = (0..<period).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    // Twice, so that what one read gives is in one piece wherever it begins.
    let block = once + once
    async let writing: Void = onThread {
        var left = count
        while left > 0 {
            try client.write(Array(block.prefix(min(left, period))))
            left -= period
        }
        client.finishWriting()
    }
    func check(_ range: Range<Int>) async throws {
        let wrong = try await onThread { () -> String? in
            var position = range.lowerBound
            while position < range.upperBound {
                let bytes = try client.read(min(period, range.upperBound - position))
                guard !bytes.isEmpty else { return "the end after \(position) bytes" }
                let start = position % period
                let isRight = block.withUnsafeBytes { memcmp($0.baseAddress! + start, bytes, bytes.count) == 0 }
                guard isRight else {
                    return "a wrong byte at \(position) or within the \(bytes.count) from there"
                }
                position += bytes.count
            }
            return nil
        }
        try #require(wrong == nil)
    }
    try await check(0..<readBefore)
    try await pause()
    try await check(readBefore..<count)
    try await writing
    #expect(try await onThread { try client.read().isEmpty }, "nothing but the end follows")
}
