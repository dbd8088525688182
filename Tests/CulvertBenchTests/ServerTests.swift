import BenchSockets
import CulvertTestSupport
import Testing

@testable import CulvertBench

@Suite struct ServerTests {
    /// Runs `body` with the way to a far end.
    private func withServer(_ body: (SocketRoute) throws -> Void) throws {
        let directory = try TemporaryDirectory()
        let route = SocketRoute(path: directory("far.sock"))
        let server = try BenchServer(on: .unix(path: route.path))
        let serving = Worker { try server.run() }
        defer { server.stop() }
        try body(route)
        server.stop()
        try serving.value()
    }

    @Test(arguments: [Pattern.Content.random, .zero, .text]) func whatIsSentIsCountedAndVerified(_ content: Pattern.Content) throws {
        try withServer { route in
            let pattern = Pattern(content)
            try Probe(route: route).verify(pattern)
            let bulk = Bulk(route: route, pattern: pattern, streams: 3, extent: .bytes(10_000_001))
            #expect(try bulk.run(Bulk.Gauge()).bytes == 10_000_001)
        }
    }

    @Test func aRunWhoseTimeIsOverAtOnceMeasuresSomething() throws {
        try withServer { route in
            let bulk = Bulk(route: route, pattern: Pattern(.zero), streams: 3, extent: .time(.nanoseconds(1)))
            let outcome = try bulk.run(Bulk.Gauge())
            #expect(outcome.bytes >= 3 && outcome.seconds > 0)
        }
    }

    @Test func aChangedByteIsFound() {
        let bytes = [UInt8](repeating: 7, count: 100)
        var one = Digest(), other = Digest()
        bytes.withUnsafeBytes { one.add($0) }
        (bytes.dropLast() + [8]).withUnsafeBytes { other.add($0) }
        #expect(one.value != other.value)
    }

    @Test func requestsAreEchoedAndTheOtherProcessKnown() throws {
        try withServer { route in
            #expect(try Probe(route: route).roundTrips(10, within: .seconds(60)).count == 10)
            let time = try Probe(route: route).relayTime()
            // Both relays are this process here.
            #expect(try #require(time.near) > 0)
            #expect(try #require(time.far) > 0)
        }
    }

    @Test func nonsenseIsNotAnswered() throws {
        try withServer { route in
            let socket = try Socket(to: .unix(path: route.path))
            socket.limitWaits(seconds: 20)
            try Array("GET / HTTP/1.1\r\n\r\n".utf8).withUnsafeBytes { try socket.send($0) }
            withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { buffer in
                // The end, or a reset because it did not read everything.
                #expect((try? socket.receive(into: buffer)) ?? 0 == 0)
            }
        }
    }

    @Test func aFileIsSentOverAndOver() throws {
        let directory = try TemporaryDirectory()
        try "abc".write(toFile: directory("stream"), atomically: true, encoding: .utf8)
        let pattern = try Pattern(file: directory("stream"))
        #expect(pattern.piece(at: 4, atMost: 100).elementsEqual("bc".utf8))
        Array("cabcab".utf8).withUnsafeBytes { #expect(pattern.matches($0, at: 2)) }
        try "".write(toFile: directory("empty"), atomically: true, encoding: .utf8)
        #expect(throws: SocketError.self) { try Pattern(file: directory("empty")) }
        #expect(throws: SocketError.self) { try Pattern(file: directory("missing")) }
    }
}
