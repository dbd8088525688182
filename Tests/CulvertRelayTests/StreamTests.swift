import CulvertIO
import Testing

@testable import CulvertRelay

@Suite struct StreamTests {
    @Test func echoesThroughTheTunnelAndHalfCloses() async throws {
        let directory = try TestDirectory()
        let target = try PlainSocket.listen(unix: directory["target"])
        let pair = try await RelayPair(
            services: [("echo", .unix(path: directory["target"]))], forwards: [("in", "echo")], directory: directory)
        let size = 8 << 20
        async let echo: Void = onThread {
            let peer = try target.accept()
            while case let piece = try peer.read(256 << 10), !piece.isEmpty { try peer.write(piece) }
            peer.finishWriting()
        }
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
        let client = try await onThread { try PlainSocket.connect(unix: directory["in"]) }
        async let writing: Void = onThread {
            try client.write(payload)
            client.finishWriting()
        }
        let answer = try await onThread { try client.readToEnd() }
        try await writing
        try await echo
        #expect(answer == payload)
        try await eventually("no stream is left") { await pair.streams() == 0 }
        await pair.stop()
    }

    /// The last bytes and the end may reach the relay as one event; 500 times makes that sure to happen.
    @Test func noTailIsLostWhenTheEndFollowsAtOnce() async throws {
        let directory = try TestDirectory()
        let target = try PlainSocket.listen(unix: directory["target"])
        let pair = try await RelayPair(
            services: [("sink", .unix(path: directory["target"]))], forwards: [("in", "sink")], directory: directory)
        let payload = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
        async let received: Int = onThread {
            var whole = 0
            for _ in 0..<500 where try target.accept().readToEnd() == payload { whole += 1 }
            return whole
        }
        try await onThread {
            for _ in 0..<500 {
                let client = try PlainSocket.connect(unix: directory["in"])
                try client.write(payload)
                client.finishWriting()
                _ = try client.readToEnd()
            }
        }
        #expect(try await received == 500)
        await pair.stop()
    }
}
