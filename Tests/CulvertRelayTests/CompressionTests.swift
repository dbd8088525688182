import CulvertCompression
import Foundation
import Testing

@testable import CulvertRelay

/// Compression is between the relays: the programs see their bytes, whatever the relays agree on.
@Suite(.fewAtOnce) struct CompressionTests {
    /// Text, zeros and noise in turn, so that some blocks shrink and some do not.
    private static let payload: [UInt8] = {
        var random = Randomness(seed: 9)
        return (0..<48).flatMap { part -> [UInt8] in
            switch part % 3 {
            case 0: [UInt8](repeating: 0, count: 70_000)
            case 1: (0..<70_000).map { UInt8(truncatingIfNeeded: $0 / 100) }
            default: (0..<70_000).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            }
        }
    }()

    @Test(arguments: CompressionMode.allCases, CompressionMode.allCases)
    func bytesComeThrough(there: CompressionMode, back: CompressionMode) async throws {
        try await withEchoPair { setup in
            setup.a.peers[0].compression = there
            setup.b.peers[0].compression = back
        } run: { pair in
            try await expectEcho(pair)
            let compression = try #require(await pair.a.status().peers[0].sessions.first?.compression)
            #expect((compression.sentPacked == 0) == (there == .none))
            #expect((compression.receivedPacked == 0) == (back == .none))
            if there != .none { #expect(compression.sentPacked < compression.sentPlain / 2) }
            try await pair.settle()
        }
    }

    /// Lanes of other loops do the work that `auto` measures.
    @Test func severalLoopsMayTakePart() async throws {
        try await withEchoPair { setup in
            setup.a.peers[0].compression = .auto
            setup.a.peers[0].lanes = 2
        } run: { pair in
            let lanes = { await pair.a.status().peers[0].sessions.first?.lanes ?? [] }
            try await eventually("both lanes are there") { await lanes().count == 2 }
            let before = await lanes().map(\.bytesSent)
            // Lanes fetch what they send, so on a busy machine one may take much before the other gets round to it.
            try await eventually("both have carried much") {
                try await expectEcho(pair)
                return await zip(lanes().map(\.bytesSent), before).allSatisfy { $0 > $1 + 65_536 }
            }
            #expect(await Set(lanes().map(\.loop)).count == 2)
        }
    }

    private func expectEcho(_ pair: RelayPair) async throws {
        let client = try await pair.connect("echo")
        async let writing: Void = onThread {
            try client.write(Self.payload)
            client.finishWriting()
        }
        let answer = try await onThread { try client.readToEnd() }
        try await writing
        #expect(answer == Self.payload)
    }
}
