import CulvertIO
import Glibc
import Synchronization
import Testing

@testable import CulvertRelay

/// Bulk that passes by its session, unencrypted or as the kernels' TLS records: what the operators of both relays have asked for.
@Suite(.fewAtOnce) struct BypassTests {
    /// Three times as much as lets a stream count as bulk, in either direction, and a lot more behind it.
    private static let enough = 24 << 20
    private static let bulk = enough + scaled(40 << 20)

    /// Ways of protection that this kernel knows. `make test-ktls` runs this suite on a kernel that knows all.
    static let ways: [BulkProtection] = KernelTLS.isAvailable ? [.none, .kernel] : [.none]

    @Test func whatCannotBeTestedHereIsSaid() {
        if !KernelTLS.isAvailable { print("NOT TESTED here: this kernel has no TLS; 'make test-ktls' tests it on one that has") }
        #expect(BulkProtection.kernel.features == (KernelTLS.isAvailable ? .kernelBypass : []))
    }

    private func withBulkPair(
        _ sides: [Side] = Side.allCases, _ way: BulkProtection = .none, from side: Side = .a, _ prepare: (inout PairSetup) throws -> Void = { _ in },
        run body: (RelayPair) async throws -> Void
    ) async throws {
        let echo = try Target.echo()
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint, from: side)
            if sides.contains(.a) { setup.a.peers[0].protection = way }
            if sides.contains(.b) { setup.b.peers[0].protection = way }
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
        try await withBulkPair(Side.allCases, way, from: side) { pair in
            try await exchange(pair.connect("echo"), Self.bulk, readBefore: Self.enough) {
                try await eventually("bytes pass by in both directions") {
                    let both = await [bulk(pair[side]), bulk(pair[side.other])].compactMap(\.self)
                    return both.count == 2 && both.allSatisfy {
                        min($0.splicedSent, $0.splicedReceived) > 1 << 20 && !$0.lossless
                    }
                }
            }
            try await pair.settle()
            let ended = try #require(await pair[side].status().forwards[0].ended.last)
            #expect(ended.reset == nil && ended.bytesSent == Self.bulk && ended.bytesReceived == Self.bulk)
            let peer = await pair[side].status().peers[0]
            #expect(peer.bytesSent >= Self.bulk && peer.streamsReset == 0)
        }
    }

    /// No key is used for ever: one connection follows another, and in between the stream is in its session.
    @Test(arguments: ways) func connectionsFollowEachOther(_ way: BulkProtection) async throws {
        try await withBulkPair(Side.allCases, way) { setup in
            setup.limit { $0.bypassSegment = 4 << 20 }
        } run: { pair in
            try await exchange(pair.connect("echo"), Self.bulk)
            try await pair.settle()
            let peer = await pair.a.status().peers[0]
            // More than one connection may carry.
            #expect(peer.streamsReset == 0 && peer.splicedSent > 4 << 20)
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
            try await exchange(pair.connect("echo"), Self.bulk, readBefore: Self.enough) {
                #expect(await bulk(pair.a)?.bytesSent ?? 0 >= Self.enough)
                #expect(await bulk(pair.a)?.splicedSent == 0)
                #expect(await bulk(pair.a)?.lossless == true)
            }
            try await pair.settle()
        }
    }

    /// What was spliced is gone, so the stream is too; the others outlive the same loss.
    @Test(arguments: ways) func aLostConnectionEndsItsStreamAlone(_ way: BulkProtection) async throws {
        let link = try Link()
        defer { link.close() }
        let echo = try Target.echo()
        try await withPair { setup in
            setup.route("echo", to: echo.endpoint)
            setup.a.peers[0].addresses = [link.endpoint]
            setup.a.peers[0].protection = way
            setup.b.peers[0].protection = way
        } run: { pair in
            let target = try await pair.port(of: .b)
            link.lead(to: target)
            let other = try await Bystander(pair.connect("echo"))
            let client = try await pair.connect("echo")
            let writing = Task { try? await onThread { try client.write([UInt8](repeating: 7, count: Self.bulk)) } }
            try await eventually("bytes pass by") {
                await pair.a.status().streams.contains { $0.splicedSent > 1 << 20 }
            }
            link.cut()
            link.lead(to: target)
            _ = try await readUntilOver(client)
            await writing.value
            try await eventually("the reason is known") {
                let reset = await pair.a.status().forwards[0].ended.last?.reset
                return reset?.code == "session-lost" && reset?.text.contains("cannot be sent again") == true
            }
            try await other.finish()
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
        try await withPair { setup in
            setup.route("sink", to: target.endpoint, near: PlainSocket.anyPort)
            setup.a.peers[0].protection = way
            setup.b.peers[0].protection = way
        } run: { pair in
            let client = try await pair.connect("sink")
            try await onThread { try client.write([UInt8](repeating: 1, count: 24 << 20)) }
            try await eventually("bytes pass by") { await pair.a.status().streams.contains { $0.splicedSent > 1 << 20 } }
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
