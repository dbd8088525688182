import COpenSSL
import Foundation
import Testing

@testable import CulvertTLS

/// Pre-shared keys: who may be whom with which.
@Suite struct KeyTests {
    private let scratch: TestPKI

    init() throws { scratch = try TestPKI() }

    private static let key1 = String(repeating: "0123456789abcdef", count: 4)
    private static let key2 = String(repeating: "fedcba9876543210", count: 4)

    private func context(
        _ user: String, _ lines: String, _ backend: TLSBackend, _ records: TLSRecords = .library
    ) throws -> TLSContext {
        let file = try scratch.write(Array(lines.utf8), "\(UUID().uuidString).psk")
        return try TLSContext(TLSSettings(.keys(file: file, user: user), backend: backend, records: records))
    }

    private func pair(_ pairing: Pairing, a: String, b: String, userOfA: String = "hosta") throws -> EnginePair {
        try EnginePair(
            client: context(userOfA, a, pairing.client, pairing.clientRecords),
            server: context("hostb", b, pairing.server, pairing.serverRecords))
    }

    @Test(arguments: Pairing.allRecords, [16, 32, 33, 64])
    func eitherEndKnowsTheOtherByTheKey(pairing: Pairing, length: Int) throws {
        let key = String(repeating: "5c", count: length)
        let pair = try pair(pairing, a: "hostc:\(Self.key1)\nhostb:\(key)\n", b: "hosta:\(key)\nhostc:\(Self.key2)\n")
        try pair.handshake()
        #expect(pair.client.peer == PeerIdentity(subject: "pre-shared key hostb", names: ["hostb"], notAfter: .infinity))
        #expect(pair.server.peer == PeerIdentity(subject: "pre-shared key hosta", names: ["hosta"], notAfter: .infinity))
        pair.expectSummaries(pairing, suite: "TLS_AES_128_GCM_SHA256")
        try pair.expectService()
    }

    @Test(arguments: Pairing.allCases, [1, 5, 100])
    func theHandshakeMayComeInPieces(pairing: Pairing, step: Int) throws {
        let pair = try pair(pairing, a: "hostb:\(Self.key1)", b: "hosta:\(Self.key1)\r\n\n")
        try pair.handshake(step: step)
        try pair.expectService()
    }

    @Test(arguments: Pairing.allCases) func anotherKeyIsRefused(pairing: Pairing) throws {
        let failures = try pair(pairing, a: "hostb:\(Self.key1)", b: "hosta:\(Self.key2)").failures()
        expectError(failures.server, .peerIdentity, ["presents the pre-shared key 'hosta'", "its key is not the one in /"])
        expectError(failures.client, .alert, ["its key for 'hosta' is not the one that our file", "both hosts need the same"])
    }

    /// Who has a key of its own cannot be another peer with it, in either role.
    @Test(arguments: Pairing.allCases) func aPeerCannotPassForAnother(pairing: Pairing) throws {
        let b = "hosta:\(Self.key1)\nhostc:\(Self.key2)\n"
        let intruder = try pair(pairing, a: "hostb:\(Self.key2)", b: b, userOfA: "hosta")
        expectError(intruder.failures().server, .peerIdentity, ["'hosta' but its key is not the one"])
        // hosta dials hostb, and hostc answers.
        let dialler = try context("hosta", "hostb:\(Self.key1)\nhostc:\(Self.key2)\n", pairing.client)
        let impostor = try context("hostc", "hosta:\(Self.key2)\n", pairing.server)
        let answered = try EnginePair(client: dialler, server: impostor).failures()
        expectError(answered.server, .peerIdentity, ["its key is not the one"])
        #expect(answered.client?.code == .alert)
    }

    @Test(arguments: Pairing.allCases) func aNameWithoutLineIsRefused(pairing: Pairing) throws {
        let failures = try pair(pairing, a: "hostb:\(Self.key1)", b: "hostc:\(Self.key1)").failures()
        expectError(failures.server, .peerIdentity, ["presents the pre-shared key 'hosta', for which /", "has no line"])
        expectError(failures.client, .alert, ["'unknown PSK identity' (115)", "a line 'hosta:KEY'"])
    }

    /// What we send to a peer comes back to us: nobody but ourselves knows us by it.
    @Test(arguments: TLSBackend.allCases) func aReflectedConnectionIsRefused(backend: TLSBackend) throws {
        let context = try context("hosta", "hosta:\(Self.key1)\nhostb:\(Self.key1)\n", backend)
        #expect(context.warnings.map { $0.contains("the line 'hosta' is this relay's own name and not used") } == [true])
        let failures = try EnginePair(client: context, server: context).failures()
        expectError(failures.server, .peerIdentity, ["presents the name of this relay, 'hosta'", "do not lead back here"])
    }

    @Test(arguments: Pairing.allCases) func keysAndCertificatesDoNotMix(pairing: Pairing) throws {
        let certified = try EnginePair(
            client: scratch.context("hosta", pairing.client), server: context("hostb", "hosta:\(Self.key1)", pairing.server)
        ).failures()
        expectError(certified.server, .peerIdentity, ["names no pre-shared key", "set tls.psk on both hosts or on neither"])
        expectError(certified.client, .alert, ["(115)", "one of us uses certificates and the other pre-shared keys"])

        let keyed = try EnginePair(
            client: context("hosta", "hostb:\(Self.key1)", pairing.client), server: scratch.context("hostb", pairing.server)
        ).failures()
        expectError(keyed.client, keyed.client?.code ?? .record, ["pre-shared key"])
        #expect(keyed.server?.code == .alert || keyed.server?.code == .handshake)
    }

    @Test(arguments: TLSBackend.allCases) func aPeerWithoutKeyIsNotDialled(backend: TLSBackend) throws {
        let context = try context("hosta", "hostb:\(Self.key1)", backend)
        let error = #expect(throws: TLSError.self) { try context.makeEngine(.client, with: "hostc") }
        expectError(error, .credentials, ["has no line for 'hostc'", "psktool -u hostc", "'hosta:KEY'"])
        #expect(context.obstacle(to: "hostc") == error?.description)
        #expect(context.obstacle(to: "HostB") == nil)
    }

    @Test(arguments: [
        ("hostb", "line 1: is not NAME:KEY"), ("hostb:", "line 1: the key of 'hostb' has 0 bytes; it takes 16 to 64"),
        ("\nhostb:zz", "line 2: the key of 'hostb' is not hexadecimal"), ("hostb:+1+1", "is not hexadecimal"),
        ("hostb:0", "is not hexadecimal"), ("hostb:0011", "has 2 bytes; it takes 16 to 64, and psktool makes 32"),
        (":\(key1)", "line 1: the name has to be 1 to 128"), ("a b:\(key1)", "the name has to be"),
        ("#686f:\(key1)", "in hexadecimal, which is not supported"),
        ("hostb:\(key1)\nHOSTB:\(key2)", "line 2: there is a line for 'hostb' already"),
        ("hostb:\(key1)\nhostc:\(key1)", "'hostb' and 'hostc' have the same key"),
        ("", "holds no key of a peer"), ("hosta:\(key1)\n", "holds no key of a peer; make one with 'psktool -u PEER"),
    ])
    func aBadFileIsNamed(text: String, message: String) throws {
        let error = #expect(throws: TLSError.self) { try context("hosta", text, .openssl) }
        expectError(error, .credentials, ["key file \(scratch.directory)/", message])
    }

    @Test func aFileThatOthersMayReadIsAWarning() throws {
        let file = try scratch.write(Array("hostb:\(Self.key1)\n".utf8), "open.psk", mode: 0o644)
        let context = try TLSContext(TLSSettings(.keys(file: file, user: "hosta")))
        #expect(context.warnings == ["key file \(file): its mode 0644 lets others than its owner use it; chmod 600 it"])
        let error = #expect(throws: TLSError.self) {
            try TLSContext(TLSSettings(.keys(file: "/nowhere/keys.psk", user: "hosta")))
        }
        expectError(error, .credentials, ["key file /nowhere/keys.psk: No such file", "'psktool -u PEER -p /nowhere/keys.psk'"])
    }

    /// What the tool makes that QEMU's manual tells to use.
    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/psktool")))
    func psktoolMakesWhatWeRead() throws {
        let file = scratch.path("keys.psk")
        let tool = Process()
        tool.executableURL = URL(fileURLWithPath: "/usr/bin/psktool")
        tool.arguments = ["-u", "hostb", "-p", file]
        tool.standardOutput = FileHandle.nullDevice
        try tool.run()
        tool.waitUntilExit()
        let keys = try PreSharedKeys(file: file, user: "hosta")
        #expect(keys.key(of: "hostb")?.count == 32)
    }
}

extension EnginePair {
    /// Data both ways, key updates both ways, and the end.
    func expectService() throws {
        var random = SeededGenerator(3)
        for engine in [client, server] { try #require((engine as? Engine)?.records).writer.recordsPerKey = 3 }
        for _ in 0 ..< 4 {
            let up = random.bytes(70_000), down = random.bytes(40_000)
            toServer += try client.seal(up)
            toClient += try server.seal(down)
            #expect(try server.open(&toServer).bytes == up)
            #expect(try client.open(&toClient).bytes == down)
        }
        client.close()
        toServer += client.output()
        #expect(try server.open(&toServer) == ([], true))
        toClient += try server.seal([1])
        server.close()
        toClient += server.output()
        #expect(try client.open(&toClient) == ([1], true))
    }
}
