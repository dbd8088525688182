import CulvertIO
import Testing

@testable import CulvertRelay

/// What has little to say does not wait behind what has much.
@Suite(.fewAtOnce) struct FairnessTests {
    private static let bulkStreams = 32

    /// Counts bytes, not time: the link between the relays stands still until the request waits at its place in the queue,
    /// then lets bytes pass bit by bit until the request is through.
    @Test(arguments: [StreamPriority.auto, .control])
    func aRequestOvertakesBulk(priority: StreamPriority) async throws {
        let link = try Link()
        defer { link.close() }
        let sink = try Target { while try !$0.read(256 << 10).isEmpty {} }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.route("bulk", to: sink.endpoint)
            setup.a.forwards[0].priority = priority
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            let request = try await pair.connect("echo")
            try await Bystander(request).exchange("and again")
            let handshake = try await handshakeSize(link, pair)
            let bulk = try await startBulk(pair)
            try await eventually("every bulk stream is past its first turn, in which it was new itself") {
                let streams = await pair.b.status().streams.filter { $0.service == "bulk" }
                return streams.count == Self.bulkStreams && streams.allSatisfy { $0.bytesReceived > 1 << 20 }
            }
            link.allow(0)
            try await eventually("as much bulk is read ahead as may be") {
                // Eight streams, some of them with one chunk only, and what the lane holds.
                let waiting = await pair.a.status().streams.filter { $0.service == "bulk" && $0.unacknowledged > 0 }
                return waiting.count >= 8 && waiting.reduce(0) { $0 + $1.unacknowledged } >= 512 << 10
            }

            let before = try await stream("echo", of: pair.b).bytesReceived
            try request.write("x")
            try await eventually("a has read the request") { try await stream("echo", of: pair.a).bytesSent == before + 1 }
            let start = link.passed
            try await eventually("the request is through") {
                link.allow(1)
                try await eventually("b has read what passed") { await pair.b.status().lane?.bytesReceived == link.passed - handshake }
                return try await stream("echo", of: pair.b).bytesReceived == before + 1
            }
            let ahead = link.passed - start
            print("\(priority): \(ahead >> 10) KiB of \(Self.bulkStreams) bulk streams went ahead of a request")
            // Buffers of the kernel and one batch on the way; in the order of reading it would be 2 MiB more.
            #expect(ahead < 2 << 20)

            link.allow(nil)
            #expect(try await onThread { try request.read(exactly: 1) } == Array("x".utf8))
            for client in bulk { client.stop() }
        }
    }

    /// Bytes that passed before those that lanes count.
    private func handshakeSize(_ link: Link, _ pair: RelayPair) async throws -> UInt64 {
        try await eventually("nothing is on its way") {
            let passed = link.passed
            let sent = await pair.a.status().lane?.bytesSent
            guard let received = await pair.b.status().lane?.bytesReceived else { return nil }
            return received == sent && passed == link.passed ? passed - received : nil
        }
    }

    /// Clients that write until they are stopped.
    private func startBulk(_ pair: RelayPair) async throws -> [PlainSocket] {
        var clients: [PlainSocket] = []
        for _ in 0..<Self.bulkStreams {
            let client = try await pair.connect("bulk")
            clients.append(client)
            Task { try await onThread { while (try? client.write([UInt8](repeating: 1, count: 64 << 10))) != nil {} } }
        }
        return clients
    }

    private func stream(_ service: String, of relay: Relay) async throws -> StreamStatus {
        guard let stream = await relay.status().streams.first(where: { $0.service == service }) else {
            throw Failure("there is no stream to \(service)")
        }
        return stream
    }
}
