import CulvertIO
import Testing

@testable import CulvertRelay

@Suite struct StreamTests {
    @Test func echoesThroughTheTunnelAndHalfCloses() async throws {
        let directory = try TestDirectory()
        let target = try PlainSocket.listen(unix: directory["target"])
        let pair = try await RelayPair(
            services: [("echo", .unix(path: directory["target"]))], forwards: [("in", "echo")], directory: directory)
        let size = 64 << 20
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
}
