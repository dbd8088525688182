import CulvertIO
import Foundation
import Testing

@testable import CulvertRelay

/// What full windows, readers that stop and crowds of connections do to a relay.
@Suite(.fewAtOnce) struct LoadTests {
    private static let window = 1 << 20

    /// A reader that stops halts its own stream: the others go on, and what it holds is bounded by the window.
    @Test func aReaderThatStopsHaltsItsOwnStreamOnly() async throws {
        let release = DispatchSemaphore(value: 0)
        let stuck = try Target { connection in
            release.wait()
            _ = try connection.readToEnd()
            connection.finishWriting()
        }
        let echo = try Target.echo()
        try await withPair { setup in
            setup.limit { $0.streamWindow = Self.window }
            setup.route("stuck", to: stuck.endpoint)
            setup.route("echo", to: echo.endpoint)
        } run: { pair in
            let held = try await pair.connect("stuck")
            let size = 32 << 20
            async let writing: Void = onThread {
                try held.write([UInt8](repeating: 7, count: size))
                held.finishWriting()
            }
            try await eventually("the stream has stopped") {
                let streams = await pair.b.status().streams
                return streams.contains { $0.undelivered > Self.window / 4 && $0.receiveWindow == 0 }
            }
            let kept = await pair.b.status().streams.map(\.undelivered).max() ?? 0
            #expect(kept <= Self.window, "what a reader does not take is bounded by the window")
            #expect(await pair.a.status().streams.map(\.unacknowledged).max() ?? 0 <= Self.window)
            print("a halted stream holds \(kept) of a window of \(Self.window) bytes")

            // The same session, at full size, while the other one stands still.
            let other = try await pair.connect("echo")
            let payload = (0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 131 >> 4) }
            async let saying: Void = onThread {
                try other.write(payload)
                other.finishWriting()
            }
            #expect(try await onThread { try other.readToEnd() } == payload)
            try await saying
            #expect(await pair.b.status().streams.contains { $0.undelivered > Self.window / 4 })

            release.signal()
            try await writing
            #expect(try await readUntilOver(held) == [])
            try await pair.settle()
        }
    }

    /// Both ends of two streams write all they have before they read anything, beyond every buffer on the way.
    @Test func streamsThatFillBothWindowsGoOnOnceSomebodyReads() async throws {
        let size = 16 << 20
        let go = DispatchSemaphore(value: 0)
        let target = try Target { connection in
            let writer = Thread { try? connection.write([UInt8](repeating: 2, count: size)) }
            writer.start()
            go.wait()
            var heard = 0
            while heard < size { heard += try connection.read(256 << 10).count }
            while !writer.isFinished { usleep(1000) }
            connection.finishWriting()
        }
        try await withPair { setup in
            setup.limit { $0.streamWindow = Self.window }
            setup.route("both", to: target.endpoint)
        } run: { pair in
            var clients: [PlainSocket] = []
            for _ in 0..<2 { clients.append(try await pair.connect("both")) }
            let writing = clients.map { client in
                Task { try await onThread { try client.write([UInt8](repeating: 1, count: size)) } }
            }
            try await eventually("both windows of both streams are full") {
                let (a, b) = await (pair.a.status().streams, pair.b.status().streams)
                return a.count == 2 && b.count == 2 && (a + b).allSatisfy { $0.sendWindow == 0 && $0.undelivered > 0 }
            }
            go.signal()
            go.signal()
            for client in clients {
                let heard = try await onThread { try client.readToEnd() }
                #expect(heard.count == size && heard.allSatisfy { $0 == 2 })
            }
            for task in writing { try await task.value }
            clients.forEach { $0.finishWriting() }
            try await pair.settle()
        }
    }

    /// The target tells its connections apart by their order, and some of them say nothing for a while.
    @Test func connectionsReachTheirTargetInOrder() async throws {
        let order = Collected<UInt8>()
        let listener = try PlainSocket.listen(PlainSocket.anyPort)
        try await withPair { setup in
            setup.route("ordered", to: listener.endpoint)
        } run: { pair in
            let endpoint = pair.endpoint("ordered"), count = 50
            let clients = try await onThread {
                try (0..<count).map { number in
                    let client = try PlainSocket.connect(endpoint)
                    // Every third one speaks late, when those behind it have spoken.
                    if number % 3 != 0 { try client.write([UInt8(number)]) }
                    return client
                }
            }
            let accepting = Task {
                try await onThread {
                    for _ in 0..<count { order.add(try listener.accept().read(exactly: 1)[0]) }
                }
            }
            for (number, client) in clients.enumerated() where number % 3 == 0 { try client.write([UInt8(number)]) }
            try await accepting.value
            #expect(order.all == (0..<UInt8(count)).map { $0 })
            clients.forEach { $0.close() }
            try await pair.settle()
        }
    }
}
