import CulvertIO
import Testing

@testable import CulvertRelay

@Suite(.fewAtOnce) struct StreamTests {
    @Test func echoesThroughTheTunnelAndHalfCloses() async throws {
        let echo = try Target.echo()
        try await withPair { $0.route("echo", to: echo.endpoint) } run: { pair in
            let payload = (0..<8 << 20).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
            let client = try await pair.connect("echo")
            async let writing: Void = onThread {
                try client.write(payload)
                client.finishWriting()
            }
            let answer = try await onThread { try client.readToEnd() }
            try await writing
            #expect(answer == payload)
            try await pair.settle()
        }
    }

    /// The last bytes and the end may reach the relay as one event; 500 times makes that sure to happen.
    @Test func noTailIsLostWhenTheEndFollowsAtOnce() async throws {
        let payload = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
        let whole = Counter()
        let sink = try Target { connection in
            if try connection.readToEnd() == payload { whole.add() }
        }
        try await withPair { $0.route("sink", to: sink.endpoint) } run: { pair in
            let near = pair.endpoint("sink")
            try await onThread {
                for _ in 0..<500 {
                    let client = try PlainSocket.connect(near)
                    try client.write(payload)
                    client.finishWriting()
                    _ = try client.readToEnd()
                }
            }
            #expect(whole.value == 500)
        }
    }
}
