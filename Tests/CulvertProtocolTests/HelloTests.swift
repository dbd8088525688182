import Testing

@testable import CulvertProtocol

/// The first frame of each direction.
@Suite struct HelloTests {
    @Test func theDiallerSpeaksFirst() throws {
        let peer = try ScriptedPeer(.dialler, established: false)
        #expect(peer.session.wantsToTransmit)
        guard case .hello(let hello)? = peer.said().first else {
            Issue.record("no HELLO")
            return
        }
        #expect(hello.session == SessionID(high: 1, low: 2) && hello.name == "here" && hello.maximumStreams == 100)
        #expect(hello.version == 1 && hello.minimumVersion == 1 && hello.lane == 0 && hello.features == [])
        #expect(hello.initialCredit == UInt64(ReceiveWindow.guaranteed))
        #expect(!peer.session.wantsToTransmit && peer.said().isEmpty)
        #expect(!peer.session.canOpen)
        try peer.hear(.hello(peer.hello()))
        #expect(peer.events() == ["established"])
        #expect(peer.session.peer == peer.hello() && peer.session.canOpen)
        #expect(!peer.said().contains { if case .hello = $0 { true } else { false } })
    }

    @Test func theListenerAnswersWithTheDiallersSession() throws {
        let peer = try ScriptedPeer(.listener, established: false)
        #expect(!peer.session.wantsToTransmit && peer.said().isEmpty)
        try peer.hear(.hello(peer.hello()))
        #expect(peer.session.id == SessionID(high: 1, low: 2))
        guard case .hello(let hello)? = peer.said().first else {
            Issue.record("no HELLO")
            return
        }
        #expect(hello.session == SessionID(high: 1, low: 2))
    }

    @Test(arguments: [
        (1, 1, true), (1, 2, true), (1, .max, true), (0, 1, true), (0, 2, true), (2, 2, false), (2, 3, false),
        (0, 0, false), (2, 1, false), (1, 0, false),
    ] as [(UInt16, UInt16, Bool)])
    func versionsMustMeet(minimum: UInt16, version: UInt16, fits: Bool) throws {
        let peer = try ScriptedPeer(.listener, established: false)
        var hello = peer.hello()
        hello.minimumVersion = minimum
        hello.version = version
        let fault = violation { try peer.hear(.hello(hello)) }
        #expect((fault == nil) == fits)
        #expect(fault.map(\.code) ?? .unsupportedVersion == .unsupportedVersion)
    }

    @Test func aPeerOfAnotherVersionIsToldSo() throws {
        let peer = try ScriptedPeer(.listener, established: false)
        var hello = peer.hello()
        hello.minimumVersion = 2
        hello.version = 3
        let fault = try #require(violation { try peer.hear(.hello(hello)) })
        peer.session.goaway(fault.code, fault.description)
        #expect(peer.said() == [
            .goaway(Goaway(code: .unsupportedVersion, lastStream: 0, text: "speaks versions 2 to 3, this relay 1"))
        ])
    }

    @Test func unknownFeaturesAreIgnored() throws {
        let peer = try ScriptedPeer(.dialler, established: false)
        var hello = peer.hello()
        hello.features = Features(rawValue: .max)
        try peer.hear(.hello(hello))
        #expect(peer.events() == ["established"])
    }

    @Test func whatANewerVersionAppendsIsIgnored() throws {
        let peer = try ScriptedPeer(.dialler, established: false)
        var bytes = Frame.hello(peer.hello()).bytes + [1, 2, 3]
        bytes[7] += 3
        try peer.hear(bytes: bytes)
        #expect(peer.session.peer == peer.hello())
    }

    @Test func aNameOfTheFullLengthPasses() throws {
        let peer = try ScriptedPeer(.dialler, established: false)
        var hello = peer.hello()
        hello.name = String(repeating: "n", count: 255)
        try peer.hear(.hello(hello))
        #expect(peer.session.peer?.name == hello.name)
    }

    @Test func anAnswerForAnotherSessionIsAViolation() throws {
        let peer = try ScriptedPeer(.dialler, established: false)
        var hello = peer.hello()
        hello.session.low = 3
        let fault = violation { try peer.hear(.hello(hello)) }
        #expect(fault?.description.hasPrefix("answers for lane 0 of session 0000000000000001") == true)
    }

    @Test(arguments: bothRoles)
    func aSecondHelloIsAViolation(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role)
        #expect(violation { try peer.hear(.hello(peer.hello())) }?.description == "a second HELLO")
    }

    /// Further lanes are for a later version.
    @Test(arguments: bothRoles)
    func aLaneOtherThanTheFirstIsAViolation(role: SessionConfiguration.Role) throws {
        let peer = try ScriptedPeer(role, established: false)
        var hello = peer.hello()
        hello.lane = 1
        #expect(violation { try peer.hear(.hello(hello)) } != nil)
    }

    @Test(arguments: bothRoles)
    func nothingButGoawayMayPrecedeHello(role: SessionConfiguration.Role) throws {
        let frames: [Frame] = [
            .open(Open(stream: 1, credit: 0, priority: .auto, service: "s")), .data(1, at: 0, [1]), .data(1, at: 0),
            .ack(Ack(stream: 1, received: 0, credit: 0)), .ping(0), .pong(0),
            .reset(Reset(stream: 1, finalOffset: 0, reason: ResetReason(.localClosed, ""))),
        ]
        for frame in frames {
            let peer = try ScriptedPeer(role, established: false)
            let fault = violation { try peer.hear(frame) }
            #expect(fault?.description.hasSuffix(" before HELLO") == true, "\(frame)")
        }
        let peer = try ScriptedPeer(role, established: false)
        try peer.hear(.goaway(Goaway(code: .unknownPeer, lastStream: 0, text: "who?")))
        #expect(peer.events() == ["goaway unknown-peer"])
    }

    @Test func somethingElseThanAPeerIsNamedSo() throws {
        let peer = try ScriptedPeer(.listener, established: false)
        var bytes = Frame.hello(peer.hello()).bytes
        bytes[16] = 0
        #expect(violation { try peer.hear(bytes: bytes) }?.description == "no Culvert peer: wrong magic")
        let other = try ScriptedPeer(.listener, established: false)
        #expect(violation { try other.hear(bytes: Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)) } != nil)
    }

    @Test func framesMayFollowHelloInOneRange() throws {
        let peer = try ScriptedPeer(.listener, established: false)
        let open = Open(stream: 1, credit: 1, priority: .auto, service: "s")
        try peer.hear(.hello(peer.hello()), .open(open, first: [1]))
        #expect(peer.events() == ["established", "opened 1"])
    }
}
