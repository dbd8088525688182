import Testing

@testable import CulvertTLS

@Suite struct RecordTests {
    /// Random pieces, random cuts of the wire, random room, both directions at once.
    @Test(arguments: 0 ..< 12 as Range<UInt64>, Pairing.allRecords)
    func everyByteArrivesInOrder(seed: UInt64, pairing: Pairing) throws {
        var random = SeededGenerator(seed)
        let pair = try EnginePair.connected(pairing)
        var up = Direction(random.bytes(Int.random(in: 0 ... 300_000, using: &random)))
        var down = Direction(random.bytes(Int.random(in: 0 ... 300_000, using: &random)))
        while !(up.isDone && down.isDone) {
            try up.step(from: pair.client, to: pair.server, &random)
            try down.step(from: pair.server, to: pair.client, &random)
        }
        #expect(up.received == up.data)
        #expect(down.received == down.data)
    }

    private struct Direction {
        let data: [UInt8]
        var sent = 0
        /// Sent but still under way.
        var wire: [UInt8] = []
        /// Arrived but not consumed.
        var arrived: [UInt8] = []
        var received: [UInt8] = []

        init(_ data: [UInt8]) { self.data = data }

        var isDone: Bool { sent == data.count && wire.isEmpty && arrived.isEmpty }

        mutating func step(
            from sender: any TLSEngine, to receiver: any TLSEngine, _ random: inout SeededGenerator
        ) throws {
            let largest = [1, 1000, 16_384, 16_385, 300_000].randomElement(using: &random)!
            let end = min(data.count, sent + Int.random(in: 1 ... largest, using: &random))
            wire += try sender.seal(Array(data[sent ..< end]))
            sent = end
            let cut = Int.random(in: min(1, wire.count) ... wire.count, using: &random)
            arrived += wire[..<cut]
            wire.removeFirst(cut)
            let room = [100, 5000, 16_384, 70_000].randomElement(using: &random)!
            received += try receiver.open(&arrived, room: room).bytes
        }
    }

    @Test(arguments: Pairing.allRecords) func aLargeTransferArrives(pairing: Pairing) throws {
        let pair = try EnginePair.connected(pairing)
        var random = SeededGenerator(7)
        let piece = random.bytes(256 << 10)
        for _ in 0 ..< 64 {
            var wire = try pair.client.seal(piece)
            #expect(try pair.server.open(&wire, room: 256 << 10).bytes == piece)
        }
    }

    @Test func ciphertextMayComeByteByByte() throws {
        let pair = try EnginePair.connected()
        var random = SeededGenerator(8)
        let data = random.bytes(17_000)
        var arrived: [UInt8] = [], received: [UInt8] = []
        for byte in try pair.client.seal(data) {
            arrived.append(byte)
            received += try pair.server.open(&arrived).bytes
        }
        #expect(received == data)
    }

    @Test(arguments: [1, 7, 16_383, 16_384, 16_385])
    func plaintextMayLeaveInSmallPieces(room: Int) throws {
        let pair = try EnginePair.connected()
        var random = SeededGenerator(9)
        let data = random.bytes(40_000)
        var wire = try pair.client.seal(data)
        #expect(try pair.server.open(&wire, room: room).bytes == data)
    }

    @Test func roomForCiphertextIsNeverExceeded() throws {
        let pair = try EnginePair.connected()
        for count in [1, 2, 100, 16_383, 16_384, 16_385, 32_768, 32_769, 100_000] {
            let most = pair.client.maximumCiphertext(for: count)
            var wire = try pair.client.seal([UInt8](repeating: 5, count: count))
            #expect(wire.count <= most)
            #expect(pair.client.pendingOutput == 0)
            #expect(try pair.server.open(&wire).bytes.count == count)
        }
    }

    @Test func nothingEncryptsToNothing() throws {
        let pair = try EnginePair.connected()
        #expect(try pair.client.seal([]) == [])
        var nothing: [UInt8] = []
        #expect(try pair.server.open(&nothing) == ([], false))
    }

    @Test(arguments: Pairing.allRecords) func closeEndsOneDirectionOnly(pairing: Pairing) throws {
        let pair = try EnginePair.connected(pairing)
        var up = try pair.client.seal([1, 2, 3])
        pair.client.close()
        pair.client.close()
        up += pair.client.output()
        #expect(try pair.server.open(&up) == ([1, 2, 3], true))
        #expect(up.isEmpty)
        #expect(try pair.server.open(&up) == ([], true))
        var down = try pair.server.seal([4, 5, 6])
        pair.server.close()
        down += pair.server.output()
        #expect(try pair.client.open(&down) == ([4, 5, 6], true))
    }

    @Test func nothingCountsAfterTheEnd() throws {
        let pair = try EnginePair.connected()
        pair.client.close()
        var up = pair.client.output() + [1, 2, 3, 4, 5, 6, 7]
        #expect(try pair.server.open(&up) == ([], true))
    }
}

/// Bytes that somebody on the way has changed, dropped, repeated or put in.
@Suite struct TamperingTests {
    @Test(arguments: 0 ..< 100 as Range<UInt64>, Pairing.allRecords)
    func aFlippedBitNeverDeliversWrongBytes(seed: UInt64, pairing: Pairing) throws {
        var random = SeededGenerator(seed)
        let pair = try EnginePair.connected(pairing)
        let data = random.bytes(Int.random(in: 1 ... 40_000, using: &random))
        var wire = try pair.client.seal(data)
        pair.client.close()
        wire += pair.client.output()
        // Records begin every 16 KiB and their overhead; the last is the close_notify.
        let headers = Array(stride(from: 0, to: wire.count - 24, by: 16_384 + 22)) + [wire.count - 24]
        let place = seed % 2 == 0
            ? headers.randomElement(using: &random)! + Int(seed) % 5 : Int.random(in: 0 ..< wire.count, using: &random)
        wire[place] ^= 1 << UInt8(random.next() % 8)

        var received: [UInt8] = []
        do {
            while true {
                let (bytes, ended) = try pair.server.open(&wire, once: true)
                #expect(!ended)
                received += bytes
                if bytes.isEmpty { break }
            }
            // Only a length that grew goes unnoticed, until more bytes come or the connection ends.
            #expect(headers.contains { place == $0 + 3 || place == $0 + 4 })
        } catch {
            expectError(error as? TLSError, .record, ["a record from the peer is not acceptable"])
            var alert = pair.server.output()
            let heard = #expect(throws: TLSError.self) { try pair.client.open(&alert) }
            #expect(heard?.code == .alert)
        }
        #expect(received == Array(data.prefix(received.count)))
    }

    @Test func aChangedRecordIsAnsweredWithAnAlert() throws {
        let pair = try EnginePair.connected()
        var wire = try pair.client.seal([1, 2, 3, 4])
        wire[wire.count - 1] ^= 1
        let error = #expect(throws: TLSError.self) { try pair.server.open(&wire) }
        expectError(error, .record, ["is not acceptable", "bad record mac", "something on the way changed it"])
        var alert = pair.server.output()
        let heard = #expect(throws: TLSError.self) { try pair.client.open(&alert) }
        expectError(heard, .alert, ["'bad record mac' (20)", "reached it changed"])
    }

    @Test func whatCameBeforeAChangedRecordIsDelivered() throws {
        let pair = try EnginePair.connected()
        var wire = try pair.client.seal([1, 2, 3]) + pair.client.seal([4, 5, 6])
        wire[wire.count - 1] ^= 1
        #expect(try pair.server.open(&wire, once: true).bytes == [1, 2, 3])
        let error = #expect(throws: TLSError.self) { try pair.server.open(&wire) }
        expectError(error, .record, ["bad record mac"])
        #expect(pair.server.pendingOutput == 24)
    }

    @Test(arguments: 0 ..< 50 as Range<UInt64>)
    func whatWasCutOffIsNoEnd(seed: UInt64) throws {
        var random = SeededGenerator(seed)
        let pair = try EnginePair.connected()
        let data = random.bytes(30_000)
        var wire = try pair.client.seal(data)
        pair.client.close()
        wire += pair.client.output()
        wire.removeLast(Int.random(in: 1 ... wire.count, using: &random))
        let (received, ended) = try pair.server.open(&wire)
        #expect(!ended)
        #expect(received == Array(data.prefix(received.count)))
    }

    enum Mischief: CaseIterable { case drop, swap, `repeat`, reflect, alert, changeCipherSpec, oversized, empty, handshake, random }

    @Test(arguments: Mischief.allCases, Pairing.allRecords)
    func theStreamOfRecordsCannotBeEdited(mischief: Mischief, pairing: Pairing) throws {
        let pair = try EnginePair.connected(pairing)
        let first = try pair.client.seal([1]), second = try pair.client.seal([2])
        var wire: [UInt8] =
            switch mischief {
            case .drop: second
            case .swap: second + first
            case .repeat: first + first
            case .reflect: try first + pair.server.seal([3])
            case .alert: first + [21, 3, 3, 0, 2, 2, 40]
            case .changeCipherSpec: first + [20, 3, 3, 0, 1, 1]
            case .oversized: first + [23, 3, 3, 0x41, 0x01]
            case .empty: first + [23, 3, 3, 0, 0]
            case .handshake: first + [22, 3, 3, 0, 5, 24, 0, 0, 1, 0]
            case .random: first + [0x5A, 0x01, 0x00, 0xFF, 0xFF, 0x00, 0x17]
            }
        let error = #expect(throws: TLSError.self) { while try !pair.server.open(&wire).bytes.isEmpty {} }
        expectError(error, .record, ["a record from the peer is not acceptable"])
        #expect(throws: TLSError.self) { try pair.server.seal([1]) }
    }
}
