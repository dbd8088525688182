import Testing

@testable import CulvertProtocol

/// The vectors that other implementations test themselves with, in both directions.
@Suite struct VectorTests {
    @Test func framesAreWrittenAndReadAsTheVectorsSay() throws {
        let vectors: [Vectors.Valid] = try Vectors.load("frames")
        #expect(vectors.count > 20)
        for vector in vectors {
            #expect(vector.frame.bytes == vector.hex.bytes, "\(vector.name)")
            #expect(try Frame.decode(vector.hex.bytes) == [vector.frame], "\(vector.name)")
        }
    }

    @Test func toleratedFramesAreReadAsTheirModels() throws {
        let valid: [Vectors.Valid] = try Vectors.load("frames")
        let vectors: [Vectors.Tolerated] = try Vectors.load("tolerated")
        #expect(!vectors.isEmpty)
        for vector in vectors {
            let model = try #require(valid.first { $0.name == vector.as })
            #expect(try Frame.decode(vector.hex.bytes) == [model.frame], "\(vector.name)")
            #expect(vector.hex.bytes != model.hex.bytes, "\(vector.name)")
        }
    }

    @Test func malformedFramesAreViolations() throws {
        let vectors: [Vectors.Malformed] = try Vectors.load("malformed")
        #expect(vectors.count > 40)
        for vector in vectors {
            let fault = violation { _ = try Frame.decode(vector.hex.bytes) }
            #expect(fault?.code == .protocolError, "\(vector.name)")
            let bytewise = violation { _ = try Frame.decode(vector.hex.bytes.map { [$0] }) }
            #expect(bytewise == fault, "\(vector.name)")
        }
    }

    @Test func sessionsHearWhatTheVectorsSay() throws {
        let vectors: [Vectors.Conversation] = try Vectors.load("sessions")
        #expect(vectors.contains(where: \.valid) && vectors.contains { !$0.valid })
        for vector in vectors {
            let peer = try ScriptedPeer(.listener, established: false, maximumStreams: 2)
            for frame in vector.hears.dropLast() { try peer.hear(bytes: frame.bytes) }
            let last = try #require(vector.hears.last)
            let fault = violation { try peer.hear(bytes: last.bytes) }
            #expect((fault == nil) == vector.valid, "\(vector.name): \(fault?.description ?? "accepted")")
        }
    }
}
