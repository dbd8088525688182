import Glibc
import Testing

@testable import CulvertRelay

/// Sends `count` bytes through an echo and compares what comes back.
func exchange(_ client: PlainSocket, _ count: Int) async throws {
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
    let wrong = try await onThread { () -> String? in
        var position = 0
        while position < count {
            let bytes = try client.read(min(period, count - position))
            guard !bytes.isEmpty else { return "the end after \(position) bytes" }
            let start = position % period
            let isRight = block.withUnsafeBytes { memcmp($0.baseAddress! + start, bytes, bytes.count) == 0 }
            guard isRight else { return "a wrong byte at \(position) or within the \(bytes.count) from there" }
            position += bytes.count
        }
        return nil
    }
    try #require(wrong == nil)
    try await writing
    #expect(try await onThread { try client.read().isEmpty }, "nothing but the end follows")
}
