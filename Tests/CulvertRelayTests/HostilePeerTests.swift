import CulvertIO
import Testing

@testable import CulvertRelay

/// A peer that has a good certificate and does what no relay does: its session ends with the reason told to both sides,
/// and nobody else notices.
@Suite(.fewAtOnce) struct HostilePeerTests {
    /// What a peer says after the handshake, and what the relay makes of it.
    struct Misdeed: Sendable, CustomTestStringConvertible {
        var name: String
        var bytes: [UInt8]
        /// Of the reason, in the GOAWAY and in the status.
        var reason: String
        var code: UInt32 = 1

        var testDescription: String { name }

        /// - Parameter saysHello: first, so that the misdeed is the second thing.
        init(_ name: String, _ frames: Frame..., saysHello: Bool = true, features: UInt64 = 0, reason: String, code: UInt32 = 1) {
            self.name = name
            bytes = ((saysHello ? [Frame.hello(features: features)] : []) + frames).flatMap(\.bytes)
            self.reason = reason
            self.code = code
        }
    }

    /// 64 times the letter a.
    private static let block: [UInt8] = [0x1F, 0x61, 1, 0, 39, 0x50, 0x61, 0x61, 0x61, 0x61, 0x61]

    static let misdeeds = [
        Misdeed("a frame of type 0", Frame(kind: 0), reason: "unknown frame type 0"),
        Misdeed("a frame of type 11", Frame(kind: 11), reason: "unknown frame type 11"),
        Misdeed("ATTACH in a session", .attach(high: 1, low: 2), reason: "ATTACH inside a session"),
        Misdeed("half an ATTACH", Frame(kind: Frame.Kind.attach, body: [1, 2, 3]), saysHello: false, reason: "too short"),
        Misdeed("more than ATTACH", .attach(high: 1, low: 2), .ping(1), saysHello: false, reason: "behind ATTACH"),
        Misdeed("a frame of type 255", Frame(kind: 255, flags: 255, length: .max), reason: "unknown frame type 255"),
        Misdeed("a flag that does not exist", Frame(kind: Frame.Kind.ping, flags: 1, body: big(UInt64(1))), reason: "flags 1"),
        Misdeed("a reserved bit", Frame(kind: Frame.Kind.ping, reserved: 1, body: big(UInt64(1))), reason: "reserved bits"),
        Misdeed("a huge frame", Frame(kind: Frame.Kind.ping, length: .max), reason: "length 4294967295"),
        Misdeed("a huge DATA", Frame(kind: Frame.Kind.data, length: 8 + 1 << 20 + 1, stream: 1), reason: "length"),
        Misdeed("DATA without offset", Frame(kind: Frame.Kind.data, length: 7, stream: 1), reason: "length 7"),

        Misdeed("DATA before HELLO", .data(1, at: 0, [1]), saysHello: false, reason: "before HELLO"),
        Misdeed("OPEN before HELLO", .open(1, "echo"), saysHello: false, reason: "before HELLO"),
        Misdeed("PING before HELLO", .ping(1), saysHello: false, reason: "before HELLO"),
        Misdeed("a second HELLO", .hello(), reason: "second HELLO"),
        Misdeed("another protocol", .hello(magic: 1), saysHello: false, reason: "magic"),
        Misdeed("a later version", .hello(version: 3, minimum: 2), saysHello: false, reason: "versions 2 to 3", code: 3),
        Misdeed("half a HELLO", Frame(kind: Frame.Kind.hello, body: [1, 2, 3]), saysHello: false, reason: "too short"),
        Misdeed("a lane of no session", .hello(lane: 1), saysHello: false, reason: "knows no session", code: 5),

        Misdeed("a stream of ours", .open(2, "echo"), reason: "opens stream 2"),
        Misdeed("stream 0", .open(0, "echo"), reason: "stream 0"),
        Misdeed("a stream that is not the next", .open(3, "echo"), reason: "opens stream 3"),
        Misdeed(
            "a service that is no text",
            Frame(kind: Frame.Kind.open, stream: 1, body: big(UInt64(0)) + [0, 0] + big(UInt16(2)) + [0xC3, 0x28]),
            reason: "not UTF-8"),
        Misdeed(
            "a service longer than its frame",
            Frame(kind: Frame.Kind.open, stream: 1, body: big(UInt64(0)) + [0, 0] + big(UInt16(200)) + [0x41]),
            reason: "too short"),
        Misdeed("DATA for no stream", .data(1, at: 0, [1]), reason: "never opened"),
        Misdeed("ACK for no stream", .ack(9, received: 0, credit: 0), reason: "never opened"),
        Misdeed("RESET for no stream", .reset(4, at: 0), reason: "never opened"),
        Misdeed(
            "an end in front of what has come", .open(1, "silent"), .data(1, at: 5, [1]), .data(1, at: 0, [1], fin: true),
            reason: "ends at 1"),
        Misdeed("DATA beyond its credit", .open(1, "silent"), .data(1, at: 1 << 40, [1]), reason: "credit"),
        Misdeed("DATA at the end of numbers", .open(1, "silent"), .data(1, at: .max, [1]), reason: "credit"),
        Misdeed(
            "DATA behind the end", .open(1, "silent"), .data(1, at: 0, [1], fin: true), .data(1, at: 1, [1]),
            reason: "contradicts its end"),
        Misdeed("an ACK for what was not sent", .open(1, "silent"), .ack(1, received: 9, credit: 9), reason: "only 0 was sent"),
        Misdeed("an ACK of no end", .open(1, "silent"), .ack(1, received: 0, credit: 0, flags: 1), reason: "end that was not sent"),
        Misdeed("a reset in the past", .open(1, "silent", first: "abc"), .reset(1, at: 2), reason: "reset at 2"),
        Misdeed(
            "more than an ACK has", Frame(kind: Frame.Kind.ack, stream: 1, body: [UInt8](repeating: 0, count: 17)),
            reason: "too many"),
        Misdeed(
            "a block that nobody asked for", .open(1, "silent"), .packed(1, at: 0, plain: 64, block), reason: "told that it is understood"),
        Misdeed("a block that is no LZ4", .open(1, "silent"), .packed(1, at: 0, plain: 65, block), features: 1, reason: "no LZ4 of 65"),
        Misdeed("a block for more than may be", .open(1, "silent"), .packed(1, at: 0, plain: 65_537, block), features: 1, reason: "65537"),
        Misdeed(
            "a block beyond its credit", .open(1, "silent"), .packed(1, at: 1 << 40, plain: 64, block), features: 1, reason: "credit"),
        Misdeed("half a GOAWAY", Frame(kind: Frame.Kind.goaway, body: [0, 0]), reason: "too short"),
    ]

    @Test(arguments: misdeeds)
    func endsItsOwnSessionAndNoOther(_ misdeed: Misdeed) async throws {
        try await withHostilePeer { pair, hostile in
            let journal = try #require(pair.setup.journal)
            let frames = try await onThread {
                let peer = try hostile()
                try peer.send(misdeed.bytes)
                return peer.receiveAll()
            }
            let goaway = try #require(frames.compactMap(\.goaway).first)
            #expect(goaway.code == misdeed.code)
            #expect(goaway.text.contains(misdeed.reason), "\(goaway.text)")
            try await expectLoss(at: pair.b, saying: misdeed.reason)
            // Before its HELLO it is shown out; afterwards its session is lost.
            let isLogged = journal.entries.contains { entry in
                entry.relay == "b" && entry.level >= .warning && entry.metadata["peer"] == "h"
                    && entry.message.contains(misdeed.reason)
            }
            #expect(isLogged, "\(journal.entries)")
        }
    }

    /// Whoever knows all of a session that is over, its secret too, cannot go on with it.
    @Test func anOldSessionIsNotTakenUpAgain() async throws {
        try await withHostilePeer { pair, hostile in
            let journal = try #require(pair.setup.journal)
            try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                _ = try peer.receive(Frame.Kind.hello)
                peer.close()
            }
            try await eventually("the session is over") { await pair.b.status().peer("h")?.sessions == [] }
            let goaway = try await onThread {
                let peer = try hostile()
                try peer.send(.hello(lane: 1, replaces: 0))
                return peer.receiveAll().compactMap(\.goaway).first
            }
            #expect(goaway?.code == 5)
            try await journal.expect("h was shown out: b knows no session", by: "b")
            try await expectLoss(at: pair.b, saying: "knows no session")
        }
    }

    // MARK: Below frames

    @Test func bytesThatAreNoRecordEndTheSession() async throws {
        try await withHostilePeer { pair, hostile in
            try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                _ = try peer.receive(Frame.Kind.hello)
                try peer.sendUnencrypted([UInt8](repeating: 0x55, count: 1000))
                _ = peer.receiveAll()
            }
            try await expectLoss(at: pair.b, saying: "record")
        }
    }

    @Test(arguments: [false, true])
    func aConnectionThatEndsInTheMiddleOfAFrameIsLost(isOrderly: Bool) async throws {
        try await withHostilePeer { pair, hostile in
            try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                _ = try peer.receive(Frame.Kind.hello)
                try peer.send(Array(Frame.open(1, "echo").bytes.dropLast(3)))
                if isOrderly { try peer.finish() }
                peer.finishWriting()
                _ = peer.receiveAll()
            }
            // Closed, or reset if what the relay had said was still unread.
            try await expectLoss(at: pair.b, saying: isOrderly ? "closed the connection" : "onnection")
        }
    }

    @Test func whoDoesNotSayHelloLosesTheSession() async throws {
        try await withHostilePeer { pair, hostile in
            #expect(try await onThread { try hostile().receiveAll() }.isEmpty)
            try await expectLoss(at: pair.b, saying: "h did not say HELLO in time")
        }
    }

    /// Whether bulk may leave its session is for both relays to say.
    @Test func whoAsksForABypassThatIsNotAgreedIsRefused() async throws {
        try await withHostilePeer { pair, hostile in
            let reset = try await onThread {
                let peer = try hostile()
                try peer.send(.hello(features: .max), .open(1, "culvert/bypass", first: "carry 1 \(String(repeating: "0", count: 32))\n"))
                return try peer.receive(Frame.Kind.reset)
            }
            // The code, behind the offset: not-allowed.
            #expect(reset.stream == 1 && reset.body[8..<12] == [0, 0, 0, 4])
            #expect(String(decoding: reset.body, as: UTF8.self).contains("'peers.h.tls'"))
        }
    }

    // MARK: Within the rules

    /// A number from the wire must not be one that traps.
    @Test func theGreatestCreditIsTaken() async throws {
        try await withHostilePeer { pair, hostile in
            try await onThread {
                let peer = try hostile()
                try peer.send(.hello(streams: .max, credit: .max), .open(1, "echo", credit: .max, first: "hello"))
                while case let frame = try peer.receive(Frame.Kind.data), frame.body.count < 13 {}
            }
            _ = await pair.b.status()
        }
    }

    @Test func aPeerThatAllowsNoStreamsGetsNone() async throws {
        try await withHostilePeer { pair, hostile in
            let held = try await onThread {
                let peer = try hostile()
                try peer.send(.hello(streams: 0))
                _ = try peer.receive(Frame.Kind.hello)
                return Transferred(peer)
            }
            let near = try await pair.b.addForward(
                ForwardSettings(listen: PlainSocket.anyPort, to: ServiceReference(peer: "h", service: "x")))
            let endpoint = try Endpoint(near.listen)
            _ = try await onThread { try PlainSocket.connect(endpoint).readUntilOver() }
            let reset = try await pair.b.outcome("x").reset
            #expect(reset?.code == "refused")
            _ = held.take()
        }
    }

    @Test func moreStreamsThanAllowedAreRefusedOneByOne() async throws {
        try await withHostilePeer({ $0.b.limits.streamsPerSession = 10 }) { pair, hostile in
            let resets = try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                for stream in 0..<20 { try peer.send(.open(UInt64(2 * stream + 1), "silent")) }
                var resets: [UInt64] = []
                while resets.count < 10 { resets.append(try peer.receive(Frame.Kind.reset).stream) }
                return resets
            }
            #expect(resets == Array(stride(from: 21, to: 40, by: 2)))
        }
    }

    /// Opening and resetting costs a peer little; it must not cost the relay its memory or others their turn.
    @Test func openingAndResettingWithoutEndLeavesNothing() async throws {
        try await withHostilePeer { pair, hostile in
            let memory = await pair.b.status().memory
            try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                _ = try peer.receive(Frame.Kind.hello)
                for round in 0..<UInt64(scaled(2000)) {
                    try peer.send(.open(2 * round + 1, "echo", first: "abc"), .reset(2 * round + 1, at: 3))
                    // The answers must be read, or the relay is right to call it a flood.
                    while try peer.receive(Frame.Kind.ack).flags & 2 == 0 {}
                }
                try peer.finish()
            }
            try await eventually("nothing is left of it") {
                let status = await pair.b.status()
                return status.peer("h")?.sessions.isEmpty == true && status.memory == memory
            }
        }
    }

    @Test func answersThatAreNeverReadAreAFlood() async throws {
        try await withHostilePeer({ $0.b.limits.streamsPerSession = 10 }) { pair, hostile in
            try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                // Ends with the connection.
                try? {
                    var stream: UInt64 = 1
                    while true {
                        try peer.send((0..<500).flatMap { _ in
                            defer { stream += 2 }
                            return Frame.open(stream, "nothing").bytes
                        })
                    }
                }()
            }
            try await expectLoss(at: pair.b, saying: "does not read the answers")
        }
    }

    /// What keeps a session from its end when the operator takes the peer's rights away.
    enum Hold: CaseIterable {
        /// Another session has taken over, and the peer does not say that it knows.
        case superseded
        /// A stream of the relay's own waits to be opened, so it cannot say GOAWAY.
        case opening
    }

    @Test(arguments: Hold.allCases, [true, false])
    func whoWasRemovedOrRenamedOpensNothingMore(_ hold: Hold, isRemoved: Bool) async throws {
        try await withHostilePeer {
            $0.b.limits.keepalive = .seconds(300)
            if hold == .opening { $0.b.limits.openWait = .seconds(300) }
        } run: { pair, hostile in
            let first = try await onThread {
                let peer = try hostile()
                try peer.send(.hello(), .open(1, "silent"))
                _ = try peer.receive(Frame.Kind.ack)
                return Transferred(peer)
            }
            var held: [any Sendable] = []
            switch hold {
            case .superseded:
                held.append(try await onThread {
                    let peer = try hostile()
                    try peer.send(.hello(session: Array(21...36)))
                    _ = try peer.receive(Frame.Kind.hello)
                    return Transferred(peer)
                })
            case .opening:
                let forward = try await pair.b.addForward(
                    ForwardSettings(listen: PlainSocket.anyPort, to: ServiceReference(peer: "h", service: "x")))
                let near = try Endpoint(forward.listen)
                held.append(try await onThread { try PlainSocket.connect(near) })
                try await eventually("a stream waits") { await pair.b.status().peer("h")?.sessions.first?.streams.count == 2 }
            }
            var settings = pair.setup.b
            if isRemoved { settings.peers.removeLast() } else { settings.peers[1].identity = "i" }
            try await pair.b.apply(settings: settings, tls: pair.setup.credentialsOfB)
            let answer = try await onThread {
                let peer = first.take()
                try peer.send(.open(3, "silent"))
                while let frame = try peer.receive() {
                    if frame.stream == 3 { return frame }
                }
                throw Failure("no answer to OPEN")
            }
            // The code, behind the offset: refused.
            #expect(answer.kind == Frame.Kind.reset && answer.body[8..<12] == [0, 0, 0, 6], "\(answer)")
            withExtendedLifetime(held) {}
        }
    }

    @Test func whoProvedAnIdentityThatIsNoLongerThePeersIsShownOut() async throws {
        try await withHostilePeer { pair, hostile in
            let silent = try await onThread { Transferred(try hostile()) }
            let entry = try #require(pair.b.peers["h"])
            try await eventually("its connection waits for HELLO") {
                await entry.loop.run { entry.peer.value.newcomers.count } == 1
            }
            var settings = pair.setup.b
            settings.peers[1].identity = "i"
            try await pair.b.apply(settings: settings, tls: pair.setup.credentialsOfB)
            let frame = try await onThread {
                let peer = silent.take()
                try peer.send(.hello())
                return try peer.receive()
            }
            let goaway = try #require(frame?.goaway)
            #expect(goaway.code == 2 && goaway.text.contains("none of the names you proved (h)"), "\(goaway)")
            try await expectLoss(at: pair.b, saying: "shown out")
        }
    }

    enum Answer: CaseIterable { case ack, reset, end }

    /// The two would reach the peer on connections of their own, and whichever came first would be the service's first.
    @Test(arguments: Answer.allCases)
    func whatFollowsOnAnotherSessionDoesNotOvertakeWhatIsOnItsWay(_ answer: Answer) async throws {
        try await withHostilePeer {
            $0.b.limits.keepalive = .seconds(300)
            $0.b.limits.openWait = .seconds(300)
        } run: { pair, hostile in
            let old = try await onThread {
                let peer = try hostile()
                try peer.send(.hello())
                _ = try peer.receive(Frame.Kind.hello)
                return Transferred(peer)
            }
            let near = try Endpoint(await pair.b.addForward(
                ForwardSettings(listen: PlainSocket.anyPort, to: ServiceReference(peer: "h", service: "x"))).listen)
            let first = try await onThread { try PlainSocket.connect(near) }
            try await eventually("the first waits") { await pair.b.status().peer("h")?.sessions.first?.streams.count == 1 }
            let new = try await onThread {
                let peer = try hostile()
                try peer.send(.hello(session: Array(21...36)))
                _ = try peer.receive(Frame.Kind.hello)
                return Transferred(peer)
            }
            let second = try await onThread {
                let client = try PlainSocket.connect(near)
                try client.write("second")
                return client
            }
            try await eventually("both were accepted") { await pair.b.status().forward("x")?.accepted == 2 }
            try first.write("first")
            try await onThread {
                let old = old.take(), new = new.take()
                #expect(try old.receive(Frame.Kind.open).firstBytes == Array("first".utf8))
                try new.send(.ping(1))
                while let frame = try new.receive(), frame.kind != Frame.Kind.pong {
                    #expect(frame.kind != Frame.Kind.open, "it came before the peer has shown that it knows the first")
                }
                switch answer {
                case .ack: try old.send(.ack(2, received: 5, credit: 1 << 20))
                case .reset: try old.send(.reset(2, at: 0))
                case .end: old.close()
                }
                #expect(try new.receive(Frame.Kind.open).firstBytes == Array("second".utf8))
            }
            second.close()
        }
    }

    // MARK: Scene

    /// A pair with a stream that goes on all the time, and a way to dial `b` as its peer `h`.
    private func withHostilePeer(
        _ prepare: (inout PairSetup) -> Void = { _ in },
        run body: (RelayPair, _ dial: @escaping @Sendable () throws -> HandMadePeer) async throws -> Void
    ) async throws {
        let echo = try Target.echo(), silent = try Target { _ = try $0.readToEnd() }
        try await withPair { setup in
            setup.journal = Journal()
            setup.route("echo", to: echo.endpoint)
            setup.b.services[0].allow.append("h")
            setup.b.services.append(ServiceSettings(name: "silent", connect: silent.endpoint, allow: ["h"]))
            setup.b.peers.append(PeerSettings(name: "h", addresses: []))
            setup.b.limits.sessionTimeout = .zero
            prepare(&setup)
        } run: { pair in
            let bystander = try await Bystander(pair.connect("echo"))
            let port = try await pair.port(of: .b), context = try pair.pki.context("h")
            try await body(pair) { try HandMadePeer.dial(port, context) }
            try await bystander.finish()
            #expect(await pair.b.status().peer("a")?.sessions.count == 1)
            #expect(await pair.b.status().refused == [:])
        }
    }

    private func expectLoss(at relay: Relay, saying reason: String) async throws {
        try await relay.expectError(reason, of: "h")
        #expect(await relay.status().peer("h")?.sessions == [])
    }
}
