import Foundation
import Testing

/// Every case that fuzzing has kept, replayed; `make fuzz` looks for more.
@Suite struct CorpusTests {
    private static func corpus(_ name: String) throws -> [(name: String, bytes: [UInt8])] {
        let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fuzz/Corpus/\(name)").standardizedFileURL
        return try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
            .map { ($0.lastPathComponent, Array(try Data(contentsOf: $0))) }
    }

    @Test func decoder() throws {
        let cases = try Self.corpus("Decoder")
        #expect(!cases.isEmpty)
        for (name, bytes) in cases { #expect(DecoderDriver.run(bytes) == nil, "\(name)") }
    }

    @Test func sessions() throws {
        let cases = try Self.corpus("Sessions")
        #expect(!cases.isEmpty)
        for (name, bytes) in cases { #expect(SessionDriver.run(bytes) == nil, "\(name)") }
    }
}
