import Testing

@testable import CulvertProtocol

/// Frames come in ranges that are cut anywhere.
@Suite struct DecoderTests {
    private func everyFrame() throws -> (frames: [Frame], bytes: [UInt8]) {
        let vectors: [Vectors.Valid] = try Vectors.load("frames")
        // An empty DATA frame in front tells joined payload from two frames.
        let frames = vectors.flatMap { [$0.frame, .ping(0)] }
        return (frames, frames.flatMap(\.bytes))
    }

    @Test func oneRangeHoldsAllFrames() throws {
        let (frames, bytes) = try everyFrame()
        #expect(try Frame.decode(bytes) == frames)
    }

    @Test func everyByteMayComeAlone() throws {
        let (frames, bytes) = try everyFrame()
        #expect(try Frame.decode(bytes.map { [$0] }) == frames)
    }

    @Test(arguments: Seeds.list(200))
    func rangesMayBeCutAnywhere(seed: UInt64) throws {
        var random = Seeded(seed)
        let (frames, bytes) = try everyFrame()
        let most = [3, 20, 100, 2000][random.below(4)]
        var ranges: [[UInt8]] = [], rest = bytes[...]
        while !rest.isEmpty {
            let count = random.below(most + 1)
            ranges.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        #expect(try Frame.decode(ranges) == frames, "seed \(seed)")
    }

    @Test func payloadIsHandedOnAsItArrives() throws {
        var decoder = FrameDecoder()
        let bytes = Frame.data(1, at: 100, [1, 2, 3, 4, 5], fin: true).bytes
        var pieces: [(UInt64, [UInt8], Bool)] = []
        for range in [bytes[..<10], bytes[10..<24], bytes[24..<26], bytes[26...]] {
            let memory = copy(range)
            defer { memory.deallocate() }
            var input = memory
            while let item = try decoder.next(&input) {
                guard case .data(1, let offset, let payload, let fin) = item else {
                    Issue.record("not DATA")
                    return
                }
                pieces.append((offset, Array(payload), fin))
            }
        }
        #expect(pieces.map(\.0) == [100, 102])
        #expect(pieces.map(\.1) == [[1, 2], [3, 4, 5]])
        #expect(pieces.map(\.2) == [false, true])
    }

    @Test func theLargestFramesPass() throws {
        let data = Frame.data(1, at: 0, [UInt8](repeating: 1, count: WireLimit.dataPayload), fin: true)
        let room = FrameEncoder.openRoom(service: "s")
        let open = Frame.open(
            Open(stream: 1, credit: 0, priority: .control, service: "s"), first: [UInt8](repeating: 2, count: room))
        #expect(open.bytes.count == FrameHeader.size + WireLimit.controlBody)
        let bytes = data.bytes + open.bytes + data.bytes
        #expect(try Frame.decode(bytes) == [data, open, data])
        let cuts = [bytes.prefix(5), bytes.dropFirst(5).dropLast(7), bytes.suffix(7)].map(Array.init)
        #expect(try Frame.decode(cuts) == [data, open, data])
    }

    /// A peer must not be able to make us wait for, or keep, a frame that is wrong from its header.
    @Test func aWrongHeaderIsNoticedBeforeItsBody() throws {
        let malformed: [Vectors.Malformed] = try Vectors.load("malformed")
        let long = try #require(malformed.first { $0.name == "reset of 4 GiB" })
        #expect(long.hex.bytes.count == FrameHeader.size)
        #expect(violation { _ = try Frame.decode(long.hex.bytes) } != nil)
    }
}
