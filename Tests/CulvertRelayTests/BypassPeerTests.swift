import CulvertIO
import CulvertTLS
import Glibc
import Synchronization
import Testing

@testable import CulvertRelay

/// One relay, and a hand-made peer that carries a stream past their session, or has the relay do so.
@Suite(.fewAtOnce) struct BypassPeerTests {
    /// As many bytes make a stream bulk, seen when the next one comes.
    private static let bulk = 1024
    /// What the target says first.
    private static let welcome = "welcome"
    /// And once it has heard something.
    private static let thanks = "thanks"
    private static let carried: [UInt8] = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 251) }

    /// A relay `b`, whose peer `a` is made by hand.
    private func withRelay(
        _ way: BulkProtection, _ prepare: (inout RelaySettings) -> Void, run body: (Relay, TLSContext) async throws -> Void
    ) async throws {
        let directory = try TestDirectory(), pki = try TestPKI(directory)
        var settings = relaySettings("b", directory)
        settings.peers = [PeerSettings(name: "a", addresses: [])]
        settings.peers[0].protection = way
        settings.limits.bulk = UInt64(Self.bulk)
        // A hand-made peer answers no PING.
        settings.limits.keepalive = .seconds(300)
        prepare(&settings)
        let peer = try pki.context("a")
        try await CulvertRelayTests.withRelay(settings, try pki.context("b")) { try await body($0, peer) }
    }

    // MARK: To the relay

    /// What carries stream 1 to the service `sink`, from its first byte on.
    private struct Carrying {
        let session: HandMadePeer
        let notes: HandMadeNotes
        let connection: HandMadePeer

        init(to relay: Endpoint, _ context: TLSContext, _ way: BulkProtection) throws {
            session = try HandMadePeer.dial(relay, context)
            try session.send(.hello(features: way.features.rawValue), .open(1, "sink"))
            // Nothing is carried to a target that is not there yet.
            while try session.receive(Frame.Kind.data).stream != 1 {}
            try session.send(.ack(1, received: UInt64(BypassPeerTests.welcome.utf8.count), credit: 64 << 10))
            notes = try HandMadeNotes(session, opening: 3)
            try notes.say("carry 1 \(BypassPeerTests.token)")
            _ = try notes.hear("dial")
            connection = try HandMadePeer.dial(relay, context)
            try connection.send(.attach(BypassPeerTests.token))
            _ = try notes.hear("ready")
            try notes.say("from 0")
        }

        func say(_ bytes: [UInt8], _ way: BulkProtection) throws {
            if way == .kernel { try connection.send(bytes) } else { try connection.sendUnencrypted(bytes) }
        }
    }

    private static let token = "01020304050607081112131415161718"

    /// A session whose HELLOs have been said.
    private static func greet(_ relay: Endpoint, _ context: TLSContext) throws -> HandMadePeer {
        let session = try HandMadePeer.dial(relay, context)
        try session.send(.hello(features: BulkProtection.none.features.rawValue))
        _ = try session.receive(Frame.Kind.hello)
        return session
    }

    /// Runs `body` with a stream that it can send bytes to on a connection of their own.
    /// - Returns: what the target has heard.
    private func carry(
        _ way: BulkProtection, _ body: @escaping @Sendable (Carrying) throws -> Void
    ) async throws -> (bytes: [UInt8], error: CInt) {
        let heard = Mutex<(bytes: [UInt8], error: CInt)?>(nil)
        let target = try Target { connection in
            try connection.write(Self.welcome)
            var (bytes, error) = connection.readOnce()
            if error == 0 {
                try? connection.write(Self.thanks)
                let rest = connection.readUntilOver()
                bytes += rest.bytes
                error = rest.error
            }
            heard.withLock { [bytes, error] in $0 = (bytes, error) }
            connection.finishWriting()
        }
        try await withRelay(way) {
            $0.services = [ServiceSettings(name: "sink", connect: target.endpoint, allow: ["a"])]
        } run: { relay, context in
            let port = try await relay.port()
            try await onThread { try body(Carrying(to: port, context, way)) }
            try await eventually("the target has heard the end") { heard.withLock { $0 != nil } }
        }
        return heard.withLock { $0! }
    }

    /// The end of the connection may follow or not: a kernel's TLS loses what it still has when the connection is ended.
    @Test(arguments: BypassTests.ways) func asManyBytesAsWereSaidAreAll(_ way: BulkProtection) async throws {
        let heard = try await carry(way) { carrying in
            try carrying.say(Self.carried, way)
            try carrying.notes.say("length \(Self.carried.count)")
            _ = try carrying.notes.hear("done")
            try carrying.session.send(.data(1, at: 0, [], fin: true))
        }
        #expect(heard.bytes == Self.carried && heard.error == 0)
    }

    /// Whatever the peer says next is about a stream that is over.
    @Test(arguments: BypassTests.ways) func fewerBytesThanCameAreAFault(_ way: BulkProtection) async throws {
        let heard = try await carry(way) { carrying in
            try carrying.say(Self.carried, way)
            while try carrying.session.receive(Frame.Kind.data).stream != 1 {}
            try carrying.notes.say("length 10")
            // By then the relay has seen that.
            for _ in 0..<3 {
                try carrying.session.send(.ping(9))
                _ = try carrying.session.receive(Frame.Kind.pong)
            }
            try carrying.say(Self.carried, way)
            let reset = try carrying.session.receive(Frame.Kind.reset)
            #expect(String(decoding: reset.body[18...], as: UTF8.self).contains("says that it sent 10"))
        }
        #expect(heard.error == ECONNRESET)
    }

    /// A stream is known by what it was opened as, and one that was not opened yet is nobody's.
    @Test func noStreamIsCarriedThatIsNotOpen() async throws {
        try await withRelay(.none) {
            $0.limits.openWait = .seconds(60)
            $0.forwards = [ForwardSettings(listen: PlainSocket.anyPort, to: ServiceReference(peer: "a", service: "sink"))]
        } run: { relay, context in
            let port = try await relay.port(), near = try Endpoint(await relay.status().forwards[0].listen)
            let session = try await onThread { Transferred(try Self.greet(port, context)) }
            let client = try await onThread { try PlainSocket.connect(near) }
            try await eventually("its stream waits to be opened") { await relay.status().streams.contains { $0.state == "opening" } }
            try await onThread {
                let session = session.take()
                for (id, notes) in [(0, UInt64(1)), (2, 3), (77, 5)] {
                    let notes = try HandMadeNotes(session, opening: notes)
                    try notes.say("carry \(id) \(Self.token)")
                    #expect(try notes.hear("no") == "there is no such stream to carry")
                }
            }
            client.close()
        }
    }

    /// Who asks for bulk to be carried and then does nothing keeps nothing here, and not for long.
    @Test func whoDoesNotBeginIsNotWaitedFor() async throws {
        let target = try Target.echo()
        try await withRelay(.none) {
            $0.limits.handshakeTimeout = .seconds(5)
            $0.services = [ServiceSettings(name: "echo", connect: target.endpoint, allow: ["a"])]
        } run: { relay, context in
            let port = try await relay.port()
            let held = try await onThread {
                let session = try Self.greet(port, context)
                for id in stride(from: UInt64(1), to: 41, by: 2) { _ = try HandMadeNotes(session, opening: id) }
                try session.send(.open(41, "echo"), .data(41, at: 0, [1]))
                while try session.receive(Frame.Kind.data).stream != 41 {}
                let notes = try HandMadeNotes(session, opening: 43)
                try notes.say("carry 41 \(Self.token)")
                _ = try notes.hear("dial")
                let connection = try HandMadePeer.dial(port, context)
                try connection.send(.attach(Self.token))
                _ = try notes.hear("ready")
                return Transferred((session, connection))
            }
            // 22 streams with their windows, and the one connection's pipe; none of the others has a pipe.
            #expect(await relay.status().memory < 16 << 20)
            try await onThread {
                let (session, _) = held.take()
                while case let frame = try session.receive(Frame.Kind.data), frame.stream != 43 || frame.flags != Frame.fin {}
                try session.send(.data(41, at: 1, [2, 3]))
                while case let frame = try session.receive(Frame.Kind.data), frame.stream != 41 || frame.body[8...] != [2, 3] {}
            }
        }
    }

    /// What a peer sends in place of bytes to carry, and how a person is told.
    struct Misdeed: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var way: BulkProtection
        var reason: String
        var commit: @Sendable (HandMadePeer) throws -> Void

        init(_ name: String, _ way: BulkProtection = .kernel, reason: String, _ commit: @escaping @Sendable (HandMadePeer) throws -> Void) {
            (testDescription, self.way, self.reason, self.commit) = (name, way, reason, commit)
        }
    }

    static let misdeeds = [
        Misdeed("close_notify", reason: "no data, such as an alert or a key update") { try $0.finish() },
        Misdeed("a key update", reason: "no data, such as an alert or a key update") { try $0.sendKeyUpdate(before: [1]) },
        Misdeed("a record that is not its own", reason: "not acceptable") {
            try $0.sendUnencrypted([23, 3, 3, 0, 100] + [UInt8](repeating: 7, count: 100))
        },
        Misdeed("a record that is too long", reason: "not acceptable") { try $0.sendUnencrypted([23, 3, 3, 0xFF, 0xFF]) },
        Misdeed("no TLS", reason: "no data") { try $0.sendUnencrypted(Array("GET / HTTP/1.1\r\n\r\n".utf8)) },
        Misdeed("half a record", reason: "it ended after 1000 bytes") {
            try $0.sendUnencrypted([23, 3, 3, 0, 100, 1, 2, 3])
            $0.finishWriting()
        },
        Misdeed("an end that is too early", .none, reason: "it ended after 1000 bytes") { $0.finishWriting() },
    ].filter { BypassTests.ways.contains($0.way) }

    /// The stream is reset with a reason; the session and its other streams stay.
    @Test(arguments: misdeeds) func whatIsNoDataEndsTheStream(_ misdeed: Misdeed) async throws {
        let heard = try await carry(misdeed.way) { carrying in
            try carrying.say([UInt8](repeating: 1, count: 1000), misdeed.way)
            try misdeed.commit(carrying.connection)
            let reset = try carrying.session.receive(Frame.Kind.reset)
            let text = String(decoding: reset.body[18...], as: UTF8.self)
            #expect(reset.stream == 1 && reset.body[8..<12] == [0, 0, 0, 7])
            #expect(text.contains(misdeed.reason) && text.contains("cannot be sent again"), "\(text)")
            try carrying.session.send(.ping(9))
            _ = try carrying.session.receive(Frame.Kind.pong)
        }
        #expect(heard.bytes.allSatisfy { $0 == 1 } && heard.error == ECONNRESET)
    }

    // MARK: From the relay

    /// Until the receiver has all, the sender does not end the connection.
    @Test(arguments: BypassTests.ways) func theConnectionStaysUntilAllIsDelivered(_ way: BulkProtection) async throws {
        try await withRelay(way) {
            $0.forwards = [ForwardSettings(listen: PlainSocket.anyPort, to: ServiceReference(peer: "a", service: "sink"))]
        } run: { relay, context in
            let port = try await relay.port(), near = try Endpoint(await relay.status().forwards[0].listen)
            try await onThread {
                let session = try HandMadePeer.dial(port, context)
                try session.send(.hello(features: way.features.rawValue))
                _ = try session.receive(Frame.Kind.hello)
                let client = try PlainSocket.connect(near)
                try client.write([UInt8](repeating: 1, count: Self.bulk))
                var heard = try session.receive(Frame.Kind.open).firstBytes.count
                while heard < Self.bulk { heard += try session.receive(Frame.Kind.data).body.count - 8 }
                try client.write([2])

                let notes = try HandMadeNotes(openedOn: session)
                let token = try notes.hear("carry").split(separator: " ")[1]
                let connection = try HandMadePeer.dial(port, context)
                try connection.send(.attach(token))
                try notes.say("ready")
                #expect(try notes.hear("from") == "\(Self.bulk + 1)")
                try client.write(Self.carried)
                client.finishWriting()

                let count = Self.carried.count
                let bytes = try way == .kernel
                    ? connection.receive(exactly: count) : connection.receiveUnencrypted(exactly: count)
                #expect(bytes == Self.carried)
                #expect(try notes.hear("length") == "\(count)")
                #expect(!connection.isEnded)
                try notes.say("done")
                while case let frame = try session.receive(Frame.Kind.data), frame.stream != 2 || frame.flags != Frame.fin {}
                try session.send(.data(2, at: 0, [], fin: true))
                #expect(try client.readToEnd() == [])
            }
        }
    }
}

extension Frame {
    /// - Parameter token: as notes have it.
    fileprivate static func attach(_ token: some StringProtocol) -> Frame {
        attach(high: UInt64(token.prefix(16), radix: 16)!, low: UInt64(token.suffix(16), radix: 16)!)
    }
}
