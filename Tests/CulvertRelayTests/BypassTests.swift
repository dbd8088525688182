import CulvertIO
import CulvertTLS
import Dispatch
import Glibc
import Synchronization
import Testing

@testable import CulvertRelay

/// Bulk that passes by its session, unencrypted or as the kernels' TLS records: what the operators of both relays have asked for.
@Suite(.fewAtOnce) struct BypassTests {
    /// Many times as much as lets a stream count as bulk.
    private static let bulk = scaled(64 << 20)

    /// Ways of protection that this kernel knows. `make test-ktls` runs what is tested with them on a kernel that knows all.
    static let ways: [BulkProtection] = KernelTLS.isAvailable ? [.none, .kernel] : [.none]

    @Test func whatCannotBeTestedHereIsSaid() {
        if !KernelTLS.isAvailable { print("NOT TESTED here: this kernel has no TLS; 'make test-ktls' tests it on one that has") }
        #expect(BulkProtection.kernel.features == (KernelTLS.isAvailable ? .kernelBypass : []))
    }

    /// - Parameter sides: that ask for it.
    private func withBypassPair(
        _ way: BulkProtection, _ sides: [Side] = Side.allCases, _ prepare: (inout PairSetup) throws -> Void,
        run body: (RelayPair) async throws -> Void
    ) async throws {
        try await withPair { setup in
            if sides.contains(.a) { setup.a.peers[0].protection = way }
            if sides.contains(.b) { setup.b.peers[0].protection = way }
            // An emulated machine may be silent for a while.
            setup.limit { $0.keepalive = .seconds(300) }
            try prepare(&setup)
        } run: { pair in
            try await body(pair)
        }
    }

    private func withBulkPair(
        _ sides: [Side] = Side.allCases, _ way: BulkProtection = .none, from side: Side = .a, _ prepare: (inout PairSetup) throws -> Void = { _ in },
        run body: (RelayPair) async throws -> Void
    ) async throws {
        let echo = try Target.echo()
        try await withBypassPair(way, sides) { setup in
            setup.route("echo", to: echo.endpoint, from: side)
            try prepare(&setup)
        } run: { pair in
            try await pair.connected()
            try await body(pair)
        }
    }

    /// The stream that carries bulk, as one side sees it.
    private func bulk(_ relay: Relay) async -> StreamStatus? { await relay.status().streams.first { $0.service == "echo" } }

    /// Whichever relay dialled: it makes the connections in both directions.
    @Test(arguments: ways, Side.allCases) func bulkIsSplicedBothWays(_ way: BulkProtection, from side: Side) async throws {
        try await expectBulkSplicedBothWays(way, from: side)
    }

    /// Where a connection's keys come from.
    struct Credentials: Sendable, CustomTestStringConvertible {
        var a: TLSBackend
        var b: TLSBackend
        /// Of 128 bits if they come from a pre-shared key, else of 256.
        var areKeys: Bool
        var testDescription: String { "\(a) dials \(b) with \(areKeys ? "keys" : "certificates")" }

        static let all = [false, true].flatMap { areKeys in
            TLSBackend.allCases.flatMap { a in TLSBackend.allCases.map { Credentials(a: a, b: $0, areKeys: areKeys) } }
        }

        func apply(to setup: inout PairSetup) throws {
            let key = String(repeating: "a5", count: 32)
            setup.credentialsOfA = try areKeys
                ? setup.pki.keys("a", sharedWith: ["b": key], backend: a) : setup.pki.context("a", backend: a)
            setup.credentialsOfB = try areKeys
                ? setup.pki.keys("b", sharedWith: ["a": key], backend: b) : setup.pki.context("b", backend: b)
        }
    }

    @Test(.enabled(if: KernelTLS.isAvailable), arguments: Credentials.all)
    func kernelsUnderstandEachOtherWhateverTheirKeysComeFrom(_ credentials: Credentials) async throws {
        try await expectBulkSplicedBothWays(.kernel) { try credentials.apply(to: &$0) }
    }

    private func expectBulkSplicedBothWays(
        _ way: BulkProtection, from side: Side = .a, _ prepare: (inout PairSetup) throws -> Void = { _ in }
    ) async throws {
        try await withBulkPair(Side.allCases, way, from: side, prepare) { pair in
            var client = try await LongExchange(pair.connect("echo"))
            try await client.move(Self.bulk)
            try await client.move(until: "bytes pass by in both directions") {
                let both = await [bulk(pair[side]), bulk(pair[side.other])].compactMap(\.self)
                return both.count == 2 && both.allSatisfy { min($0.splicedSent, $0.splicedReceived) > 1 << 20 && !$0.lossless }
            }
            try await client.finish()
            try await pair.settle()
            let ended = try #require(await pair[side].status().forwards[0].ended.last)
            #expect(ended.reset == nil && ended.bytesSent == client.count && ended.bytesReceived == client.count)
            let peer = await pair[side].status().peers[0]
            #expect(peer.bytesSent >= client.count && peer.streamsReset == 0)
        }
    }

    /// No key is used for ever, nor for too many records: one connection follows another, and in between the stream is in its
    /// session.
    @Test(arguments: ways, [false, true]) func connectionsFollowEachOther(_ way: BulkProtection, inPieces: Bool) async throws {
        try await withBulkPair(Side.allCases, way) { setup in
            setup.limit { if inPieces { $0.bypassCalls = 1 } else { $0.bypassSegment = 4 << 20 } }
        } run: { pair in
            var client = try await LongExchange(pair.connect("echo"))
            try await client.move(Self.bulk)
            try await client.move(until: "it has been back in its session several times") {
                guard let stream = await bulk(pair.a) else { return false }
                return stream.splicedSent > (inPieces ? 0 : 8 << 20) && stream.bytesSent - stream.splicedSent > 12 << 20
            }
            try await client.finish()
            try await pair.settle()
            #expect(await pair.a.status().peers[0].streamsReset == 0)
        }
    }

    @Test func littleStaysInTheSession() async throws {
        try await withBulkPair { pair in
            let client = try await Bystander(pair.connect("echo"))
            #expect(await bulk(pair.a)?.lossless == true)
            try await client.finish()
            try await pair.settle()
        }
    }

    @Test(arguments: ways, Side.allCases) func oneSideAloneDecidesNothing(_ way: BulkProtection, _ side: Side) async throws {
        try await withBulkPair([side], way) { pair in
            var client = try await LongExchange(pair.connect("echo"))
            try await client.move(24 << 20)
            let stream = try #require(await bulk(pair.a))
            #expect(stream.bytesSent == client.count && stream.splicedSent == 0 && stream.lossless)
            try await client.finish()
            try await pair.settle()
        }
    }

    /// What was spliced is gone, so the stream is too; the others outlive the same loss.
    @Test(arguments: ways) func aLostConnectionEndsItsStreamAlone(_ way: BulkProtection) async throws {
        let link = try Link()
        defer { link.close() }
        let echo = try Target.echo()
        try await withBypassPair(way) { setup in
            setup.route("echo", to: echo.endpoint)
            setup.a.peers[0].addresses = [link.endpoint]
        } run: { pair in
            let target = try await pair.port(of: .b)
            link.lead(to: target)
            let other = try await Bystander(pair.connect("echo"))
            let client = try await pair.connect("echo")
            let block = [UInt8](repeating: 7, count: 1 << 20)
            async let writing: Void = onThread { while (try? client.write(block)) != nil {} }
            async let reading: Void = onThread { while let bytes = try? client.read(), !bytes.isEmpty {} }
            try await eventually("bytes pass by") {
                await pair.a.status().streams.contains { $0.splicedSent > 1 << 20 }
            }
            link.cut()
            link.lead(to: target)
            _ = try await (writing, reading)
            try await eventually("the reason is known") {
                let reset = await pair.a.status().forwards[0].ended.last?.reset
                return reset?.code == "session-lost" && reset?.text.contains("cannot be sent again") == true
            }
            try await other.finish()
            try await pair.settle()
        }
    }

    /// A program that rests is not a peer that is gone: for as long as it likes it holds up its own stream, and no byte is lost.
    @Test(arguments: ways) func aTargetMayRestForLongerThanThePeerMayBeSilent(_ way: BulkProtection) async throws {
        // An emulated machine may be silent itself for a while.
        let keepalive = Duration.seconds(KernelTLS.isAvailable ? 10 : 2)
        let pattern = Pattern(seed: 3), isResting = Mutex(false), awake = DispatchSemaphore(value: 0)
        let heard = Mutex<(count: Int, isRight: Bool)?>(nil)
        let target = try Target { connection in
            var count = 0, isRight = true
            while case let piece = try connection.read(Pattern.longestPiece), !piece.isEmpty {
                isRight = isRight && piece.withUnsafeBytes { pattern.matches($0, 0, offset: count) }
                count += piece.count
                if isResting.withLock({ exchange(&$0, with: false) }) { _ = awake.wait(timeout: .now() + .seconds(patience)) }
            }
            heard.withLock { $0 = (count, isRight) }
            connection.finishWriting()
        }
        try await withBypassPair(way) { setup in
            setup.limit { $0.keepalive = keepalive }
            setup.route("sink", to: target.endpoint)
        } run: { pair in
            let client = try await pair.connect("sink"), isEnough = Mutex(false)
            async let sent: Int = onThread {
                var count = 0
                while !isEnough.withLock(\.self) {
                    try client.write(pattern.withPiece(0, offset: count, count: Pattern.longestPiece) { Array($0) })
                    count += Pattern.longestPiece
                }
                client.finishWriting()
                return count
            }
            let spliced = { await pair.a.status().streams.first?.splicedSent ?? 0 }
            try await eventually("bytes pass by") { await spliced() > 1 << 20 }
            isResting.withLock { $0 = true }
            var last = (moved: UInt64(0), since: ContinuousClock.now)
            try await eventually("nothing has moved for three times as long as a peer may be silent") {
                let moved = await spliced()
                if moved != last.moved { last = (moved, ContinuousClock.now) }
                return last.since.duration(to: .now) > keepalive * 3
            }
            isEnough.withLock { $0 = true }
            awake.signal()
            let count = try await sent
            try await eventually("the target has heard the end") { heard.withLock { $0 != nil } }
            #expect(heard.withLock { $0! } == (count, true))
            client.close()
            try await pair.settle()
            #expect(await pair.a.status().peers[0].streamsReset == 0)
        }
    }

    /// What ends a connection past the session is mostly not the cause, and the far side knows it.
    @Test(arguments: ways) func theFarSidesReasonIsTold(_ way: BulkProtection) async throws {
        let isEnough = Mutex(false)
        let target = try Target { connection in
            while try !connection.read().isEmpty {
                if isEnough.withLock(\.self) { return connection.reset() }
            }
        }
        try await withBypassPair(way) { setup in
            setup.route("sink", to: target.endpoint)
        } run: { pair in
            let client = try await pair.connect("sink"), block = [UInt8](repeating: 1, count: 1 << 20)
            async let writing: Void = onThread { while (try? client.write(block)) != nil {} }
            try await eventually("bytes pass by") {
                await pair.b.status().streams.contains { $0.service == "sink" && $0.splicedReceived > 1 << 20 }
            }
            isEnough.withLock { $0 = true }
            _ = try await writing
            let reset = try await eventually("the near side is over") {
                await pair.a.status().forwards[0].ended.last?.reset
            }
            #expect(reset.remote && reset.code == "local-closed" && reset.text.contains("target of sink"), "\(reset)")
            try await pair.settle()
        }
    }

    /// `splice` does not go past a byte that is marked as urgent, which is not carried any more than in the session.
    @Test func anUrgentByteHoldsUpNothing() async throws {
        let heard = Mutex<[UInt8]?>(nil), begun = Counter()
        let target = try Target { connection in
            let first = try connection.read()
            begun.add()
            let rest = try connection.readToEnd()
            heard.withLock { $0 = first + rest }
            connection.finishWriting()
        }
        try await withBypassPair(.none) { setup in
            setup.limit { $0.bulk = 1000 }
            setup.route("sink", to: target.endpoint, near: PlainSocket.anyPort)
        } run: { pair in
            let client = try await pair.connect("sink")
            try await onThread { try client.write([1]) }
            var sent = 1
            // Nothing is carried to a target that is not there yet.
            try await eventually("the target is there") { begun.value > 0 }
            try await eventually("bytes pass by") {
                try await onThread { try client.write([UInt8](repeating: 1, count: 1000)) }
                sent += 1000
                return await pair.a.status().streams.contains { $0.splicedSent > 10_000 }
            }
            try await onThread {
                try client.writeUrgently(2)
                try client.write([UInt8](repeating: 3, count: 1000))
                client.finishWriting()
                _ = try client.readToEnd()
            }
            let expected = [UInt8](repeating: 1, count: sent) + [UInt8](repeating: 3, count: 1000)
            let isRight = heard.withLock { $0 == expected }
            #expect(isRight)
            try await pair.settle()
        }
    }

    /// Connections are made a few at a time: the TLS port gives up those that have waited longest, whoever's they are.
    @Test func manyStreamsTakeTurnsToLeaveTheSession() async throws {
        let echo = try Target.echo()
        try await withBypassPair(.none) { setup in
            // Eight for each direction.
            setup.limit { ($0.unauthenticatedConnections, $0.bulk) = (16, 4 << 20) }
            setup.route("echo", to: echo.endpoint)
        } run: { pair in
            try await pair.connected()
            // Once anybody has seen it: whoever finishes is one less.
            let seen = Counter()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<48 {
                    group.addTask {
                        var client = try await LongExchange(pair.connect("echo"))
                        try await client.move(until: "as many as there are pass by") {
                            let count = await pair.a.status().streams.count { $0.service == "echo" && $0.splicedSent > 0 }
                            if count == 48 { seen.add() }
                            return seen.value > 0
                        }
                        try await client.finish()
                    }
                }
                try await group.waitForAll()
            }
            #expect(await pair.b.status().refused.isEmpty)
            try await pair.settle()
        }
    }

    /// The local end breaks off while its bytes pass by: the far end must not take that for the stream's end.
    @Test(arguments: ways) func aBrokenLocalSocketIsNoCleanEnd(_ way: BulkProtection) async throws {
        let heard = Mutex<(count: Int, error: CInt)?>(nil)
        let target = try Target { connection in
            let (bytes, error) = connection.readUntilOver()
            heard.withLock { $0 = (bytes.count, error) }
        }
        try await withBypassPair(way) { setup in
            setup.route("sink", to: target.endpoint, near: PlainSocket.anyPort)
        } run: { pair in
            let client = try await pair.connect("sink")
            let block = [UInt8](repeating: 1, count: 1 << 20)
            try await eventually("bytes pass by") {
                try await onThread { try client.write(block) }
                return await pair.a.status().streams.contains { $0.splicedSent > 1 << 20 }
            }
            client.reset()
            try await eventually("the far end is over") { heard.withLock { $0 != nil } }
            #expect(heard.withLock { $0?.error } == ECONNRESET)
            try await pair.settle()
        }
    }

    /// Nothing that relays tell each other about a bypass is lost, or only half told: the stream would wait for ever.
    @Test func aNoteWaitsForAFullSocket() async throws {
        let loop = try EventLoop(name: "notes")
        loop.start()
        defer { loop.stop() }
        let pair = try Descriptor.pair(), near = pair.first, far = pair.second
        let filler = [UInt8](repeating: 0, count: 64 << 10)
        var filling = 0
        while case .bytes(let count) = filler.withUnsafeBytes({ near.write($0) }) { filling += count }
        let full = Transferred(near)
        try await withCheckedThrowingContinuation { (said: CheckedContinuation<Void, any Error>) in
            loop.execute {
                said.resume(with: Result {
                    let notes = try BypassNotes(full.take(), loop: loop, take: { _ in }, ended: {})
                    notes.send(.length(7))
                    notes.send(.done)
                    notes.close()
                })
            }
        }
        var heard: [UInt8] = []
        try await eventually("all is said") {
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            while true {
                switch buffer.withUnsafeMutableBytes({ far.read(into: $0) }) {
                case .bytes(let count): heard += buffer[..<count]
                case .wouldBlock: return false
                case .endOfStream, .failed: return true
                }
            }
        }
        #expect(String(decoding: heard.dropFirst(filling), as: UTF8.self) == "length 7\ndone\n")
    }

    @Test func aConnectionThatNobodyWaitsForIsClosed() async throws {
        try await withBulkPair { pair in
            let port = try await pair.port(of: .b), context = try pair.pki.context("a")
            try await onThread {
                let stranger = try HandMadePeer.dial(port, context)
                try stranger.send(.attach(high: 1, low: 2))
                #expect(stranger.receiveAll() == [])
            }
            try await Bystander(pair.connect("echo")).finish()
        }
    }
}
