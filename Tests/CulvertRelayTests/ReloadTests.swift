import CulvertIO
import CulvertTLS
import Foundation
import Testing

@testable import CulvertRelay

/// New settings while streams go on.
@Suite(.fewAtOnce) struct ReloadTests {
    @Test func servicesAndForwardsComeAndGo() async throws {
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            let other = try await Bystander(pair.connect("echo"))
            let near = pair.directory.socket("near")
            var a = setup.a, b = setup.b
            b.services.append(ServiceSettings(name: "late", connect: b.services[0].connect, allow: ["a"]))
            a.forwards.append(ForwardSettings(listen: near, to: ServiceReference(peer: "b", service: "late")))
            try await pair.b.apply(settings: b, tls: setup.credentialsOfB)
            try await pair.a.apply(settings: a, tls: setup.credentialsOfA)
            #expect(await pair.b.status().services.map(\.name) == ["echo", "late"])
            #expect(await pair.a.forwards().map(\.to) == ["b/echo", "b/late"])
            let client = try await Bystander(onThread { try PlainSocket.connect(near) })

            try await pair.b.apply(settings: setup.b, tls: setup.credentialsOfB)
            let refused = try await onThread { try PlainSocket.connect(near) }
            #expect(try await readUntilOver(refused) == [])
            #expect(try await pair.a.outcome("late").reset?.code == "unknown-service")
            try await pair.a.apply(settings: setup.a, tls: setup.credentialsOfA)
            #expect(try await connectError(near) == ENOENT)
            #expect(await pair.a.forwards().map(\.to) == ["b/echo"])
            try await client.finish()
            try await other.finish()
            try await pair.settle()
        }
    }

    @Test func peersComeAndGo() async throws {
        let echo = try Target.echo()
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            let other = try await Bystander(pair.connect("echo"))
            var c = relaySettings("c", pair.directory)
            c.listen = []
            c.peers = [PeerSettings(name: "b", addresses: setup.a.peers[0].addresses)]
            let near = pair.directory.socket("near")
            c.forwards = [ForwardSettings(listen: near, to: ServiceReference(peer: "b", service: "late"))]
            var b = setup.b
            b.peers.append(PeerSettings(name: "c", addresses: []))
            b.services.append(ServiceSettings(name: "late", connect: echo.endpoint, allow: ["c"]))
            try await withRelay(c, pair.pki.context("c")) { relay in
                try await eventually("b has refused c") { await pair.b.status().refused["unknown-peer"] != nil }
                try await pair.b.apply(settings: b, tls: setup.credentialsOfB)
                try await eventually("c is connected") { await relay.status().peer("b")?.isConnected == true }
                let client = try await Bystander(onThread { try PlainSocket.connect(near) })

                try await pair.b.apply(settings: setup.b, tls: setup.credentialsOfB)
                let leaving = await pair.b.status().peer("c")
                #expect(leaving?.sessions.first?.draining == true, "shown until its last stream is over")
                try await client.finish()
                try await eventually("c is gone") { await pair.b.status().peers.map(\.name) == ["a"] }
                try await eventually("c is refused again") {
                    await relay.status().peer("b")?.lastError?.contains("is the identity of a peer configured here") == true
                }
            }
            try await other.finish()
            try await pair.settle()
        }
    }

    /// It is dialled for as long as streams may finish, and for no longer.
    @Test func aPeerThatWasRemovedIsForgottenWithItsSession() async throws {
        let link = try Link()
        defer { link.close() }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [link.endpoint]
            setup.limit { $0.sessionTimeout = .seconds(1) }
        } run: { pair in
            link.lead(to: try await pair.port(of: .b))
            let client = try await pair.connect("echo"), live = try await Bystander(client)
            try await live.exchange("more")
            let (peer, dialler) = try await watch(pair.a, "b")
            var removed = pair.setup.a
            (removed.peers, removed.forwards) = ([], [])
            try await pair.a.apply(settings: removed, tls: pair.setup.credentialsOfA)
            try await live.exchange("and more")
            link.refuse(true)
            link.cut()
            #expect(try await readUntilOver(client) == [])
            try await eventually("nobody dials it any more") { peer.object == nil && dialler.object == nil }
        }
    }

    /// Its peer cannot replace a lane then, and goes on with those that it has.
    @Test func streamsOfARemovedPeerSurviveALaneThatIsRefused() async throws {
        let links = try [Link(), Link()]
        defer { links.forEach { $0.close() } }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = links.map(\.endpoint)
            setup.a.peers[0].lanes = 2
        } run: { pair in
            let target = try await pair.port(of: .b)
            for link in links { link.lead(to: target) }
            try await eventually("both lanes are there") {
                await pair.b.status().peers[0].sessions.first?.lanes.filter { $0.rtt != nil }.count == 2
            }
            let live = try await Bystander(pair.connect("echo"))
            try await live.exchange("more")
            var removed = pair.setup.b
            removed.peers = []
            try await pair.b.apply(settings: removed, tls: pair.setup.credentialsOfB)
            links[1].cut()
            links[1].lead(to: target)
            try await eventually("b has refused a lane, and a has heard it") {
                let (a, b) = await (pair.a.status(), pair.b.status())
                return b.refused["unknown-peer"] != nil && a.peers[0].sessions.first?.lanesLost ?? 0 >= 2
            }
            try await live.exchange("and more")
            try await live.finish()
        }
    }

    private func watch(_ relay: Relay, _ name: String) async throws -> (WeakReference<Peer>, WeakReference<Dialler>) {
        let entry = try #require(relay.peers[name])
        return try #require(await entry.loop.run {
            (WeakReference(entry.peer.value), WeakReference(entry.peer.value.diallers.first))
        })
    }

    @Test func aChangedAllowIsForNewStreams() async throws {
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            let live = try await Bystander(pair.connect("echo"))
            var b = setup.b
            b.services[0].allow = []
            try await pair.b.apply(settings: b, tls: setup.credentialsOfB)
            #expect(try await readUntilOver(pair.connect("echo")) == [])
            #expect(try await pair.a.outcome("echo").reset?.code == "not-allowed")
            try await live.exchange("still allowed")

            try await pair.b.apply(settings: setup.b, tls: setup.credentialsOfB)
            try await Bystander(pair.connect("echo")).finish()
            try await live.finish()
            try await pair.settle()
        }
    }

    /// Whichever side takes it back, in either direction.
    @Test(arguments: Side.allCases) func whatMayNotPassByTheSessionAnyMoreStays(_ side: Side) async throws {
        try await withEchoPair { setup in
            setup.a.peers[0].protection = .none
            setup.b.peers[0].protection = .none
        } run: { pair in
            try await pair.connected()
            var settings = side == .a ? pair.setup.a : pair.setup.b
            settings.peers[0].protection = .userspace
            try await pair[side].apply(
                settings: settings, tls: side == .a ? pair.setup.credentialsOfA : pair.setup.credentialsOfB)
            try await exchange(pair.connect("echo"), 32 << 20)
            let peer = await pair.a.status().peers[0]
            #expect(peer.splicedSent == 0 && peer.splicedReceived == 0)
            #expect(peer.sessions.map(\.bulk) == [BulkStatus(
                wanted: side == .a ? "userspace" : "none", agreed: side == .a ? "userspace" : "none")])
        }
    }

    /// What it has may finish; what is new takes another session, though the first one could have one more lane.
    @Test func aChangedIdentityMakesANewSession() async throws {
        try await withEchoPair { _ in } run: { pair in
            let live = try await Bystander(pair.connect("echo"))
            let old = await pair.a.status().peers[0].sessions.map(\.id)
            var settings = pair.setup.a
            settings.peers[0].identity = "B"
            try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
            try await Bystander(pair.connect("echo")).finish()
            let sessions = await pair.a.status().peers[0].sessions
            #expect(sessions.count == 2 && sessions.first?.id == old.first && sessions.first?.draining == true)
            try await live.exchange("still there")
            try await live.finish()
        }
    }

    /// One dialler has made both, the older one's on another road. A lane takes the place of one of its own session.
    @Test(arguments: [false, true]) func eachSessionGetsALaneAgain(bothAreLost: Bool) async throws {
        let links = try [Link(), Link()]
        defer { links.forEach { $0.close() } }
        try await withEchoPair { setup in
            setup.a.peers[0].addresses = [links[0].endpoint]
        } run: { pair in
            let target = try await pair.port(of: .b)
            for link in links { link.lead(to: target) }
            let older = try await Bystander(pair.connect("echo"))
            var settings = pair.setup.a
            settings.peers[0].identity = "B"
            settings.peers[0].addresses = [links[1].endpoint]
            try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
            let younger = try await Bystander(pair.connect("echo"))
            let before = await pair.a.status().peers[0].sessions.map(\.id)
            #expect(before.count == 2)

            for link in bothAreLost ? links : [links[0]] { link.cut() }
            links[1].lead(to: target)
            for stream in [older, younger] { try await stream.exchange("goes on") }
            let sessions = await pair.a.status().peers[0].sessions
            #expect(sessions.map(\.id) == before)
            if !bothAreLost { #expect(sessions.map(\.lanesLost) == [1, 0]) }
            for stream in [older, younger] { try await stream.finish() }
        }
    }

    /// The first connection that comes about is for what is there already.
    @Test func whoWaitsForANewSessionGetsItAfterTheOldOneHasALaneAgain() async throws {
        let link = try Link()
        defer { link.close() }
        try await withEchoPair { $0.a.peers[0].addresses = [link.endpoint] } run: { pair in
            let target = try await pair.port(of: .b)
            link.lead(to: target)
            let old = try await Bystander(pair.connect("echo"))
            link.cut()
            try await eventually("its lane is lost") { await pair.a.status().peers[0].sessions.first?.lanes.isEmpty == true }
            var settings = pair.setup.a
            settings.peers[0].identity = "B"
            try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
            let waiting = try await pair.connect("echo")
            link.lead(to: target)
            try await Bystander(waiting).finish()
            try await old.finish()
        }
    }

    @Test func compressionChangesWithinTheSession() async throws {
        try await withEchoPair { _ in } run: { pair in
            func sentPacked() async throws -> UInt64 {
                let client = try await Bystander(pair.connect("echo"))
                try await client.exchange(String(repeating: "the same ", count: 10_000))
                try await client.finish()
                return await pair.a.status().peers[0].sessions.first?.compression.sentPacked ?? 0
            }
            #expect(try await sentPacked() == 0)
            var settings = pair.setup.a
            settings.peers[0].compression = .lz4
            try await pair.a.apply(settings: settings, tls: pair.setup.credentialsOfA)
            let packed = try await sentPacked()
            #expect(packed > 0)
            try await pair.a.apply(settings: pair.setup.a, tls: pair.setup.credentialsOfA)
            #expect(try await sentPacked() == packed)
        }
    }

    @Test func newCertificatesAreForNewSessions() async throws {
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            let live = try await Bystander(pair.connect("echo"))
            let port = setup.a.peers[0].addresses[0]
            let old = setup.credentialsOfA
            let shown = { (credentials: TLSContext) in
                try await onThread { try HandMadePeer.dial(port, credentials).certificate.notAfter }
            }
            let before = try await shown(old)
            let renewed = try pair.pki.context("b") { $0.notAfter -= 86_400 }
            try await pair.b.apply(settings: setup.b, tls: renewed)
            #expect(try await before - shown(old) >= 86_000)

            // A CA that neither knew: whoever still has the old one is a stranger now.
            let authority = try TestPKI(pair.directory, name: "next")
            try await pair.b.apply(settings: setup.b, tls: authority.context("b"))
            try await pair.a.apply(settings: setup.a, tls: authority.context("a"))
            await #expect(throws: TLSError.self) { try await shown(old) }
            _ = try await shown(authority.context("a"))
            try await live.finish()
            try await pair.settle()
        }
    }

    @Test func aSetThatDoesNotWorkChangesNothing() async throws {
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            let live = try await Bystander(pair.connect("echo"))
            let taken = pair.directory.socket("taken"), owner = try PlainSocket.listen(taken)
            var a = setup.a
            a.services.append(ServiceSettings(name: "new", connect: taken, allow: ["b"]))
            a.peers.append(PeerSettings(name: "c", addresses: []))
            a.listen = [PlainSocket.anyPort]
            a.forwards = ["free", "taken"].map {
                ForwardSettings(listen: pair.directory.socket($0), to: ServiceReference(peer: "b", service: "echo"))
            }
            do {
                try await pair.a.apply(settings: a, tls: setup.credentialsOfA)
                Issue.record("took the address of a live socket")
            } catch let error as RelayError {
                #expect(error.description.contains(pair.directory["taken"]))
                #expect(error.description.contains("a running process has that socket"))
            }
            let status = await pair.a.status()
            #expect(status.services == [] && status.peers.map(\.name) == ["b"] && status.listen == [])
            #expect(status.forwards.map(\.listen) == [pair.endpoint("echo").description])
            #expect(try await connectError(pair.directory.socket("free")) == ENOENT)
            try await Bystander(pair.connect("echo")).finish()
            try await live.finish()
            try await pair.settle()
            owner.close()
        }
    }

    @Test func whatNeedsARestartIsSaid() async throws {
        try await withEchoPair { _ in } run: { pair in
            let setup = pair.setup
            var a = setup.a
            a.name = "other"
            do {
                try await pair.a.apply(settings: a, tls: setup.credentialsOfA)
                Issue.record("took another name")
            } catch let error as RelayError {
                #expect(error.description.contains("only change with a restart"))
            }
            #expect(await pair.a.status().name == "a")
        }
    }
}
