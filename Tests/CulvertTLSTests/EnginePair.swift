import Testing

@testable import CulvertTLS

/// Which library is at which end, and whose ciphers it has for records.
struct Pairing: CaseIterable, Sendable, Hashable, CustomTestStringConvertible {
    var client: TLSBackend
    var server: TLSBackend
    var clientRecords = TLSRecords.library
    var serverRecords = TLSRecords.library

    static let allCases = TLSBackend.allCases.flatMap { client in
        TLSBackend.allCases.map { Pairing(client: client, server: $0) }
    }

    /// Each of `allCases` with every choice of ciphers.
    static let allRecords = allCases.flatMap { pairing in
        TLSRecords.allCases.flatMap { client in
            TLSRecords.allCases.map {
                Pairing(client: pairing.client, server: pairing.server, clientRecords: client, serverRecords: $0)
            }
        }
    }

    var testDescription: String { "\(client) (\(clientRecords)) dials \(server) (\(serverRecords))" }
}

/// Two engines with nothing but memory between them.
final class EnginePair {
    let client: any TLSEngine
    let server: any TLSEngine
    /// Ciphertext on its way.
    var toServer: [UInt8] = []
    var toClient: [UInt8] = []

    init(client: TLSContext, server: TLSContext) throws {
        self.client = try client.makeEngine(.client, with: "hostb")
        self.server = try server.makeEngine(.server)
    }

    private static let contexts = Result {
        let pki = try TestPKI()
        return Dictionary(uniqueKeysWithValues: try Pairing.allRecords.map { pairing in
            let client = try pki.context("hosta", pairing.client, pairing.clientRecords)
            return (pairing, (client: client, server: try pki.context("hostb", pairing.server, pairing.serverRecords)))
        })
    }

    /// A pair that has shaken hands.
    static func connected(_ pairing: Pairing = Pairing(client: .openssl, server: .openssl)) throws -> EnginePair {
        let contexts = try contexts.get()[pairing]!
        let pair = try EnginePair(client: contexts.client, server: contexts.server)
        try pair.handshake()
        return pair
    }

    /// Shakes hands to the end; each side is offered at most `step` more bytes at a time.
    func handshake(step: Int = .max) throws {
        var clientDone = false, serverDone = false
        while !(clientDone && serverDone) {
            let before = (toServer.count, toClient.count, clientDone, serverDone)
            if !clientDone { clientDone = try client.handshake(taking: &toClient, step: step) }
            toServer += client.output()
            if !serverDone { serverDone = try server.handshake(taking: &toServer, step: step) }
            toClient += server.output()
            guard before != (toServer.count, toClient.count, clientDone, serverDone) else { throw Stalled() }
        }
    }

    struct Stalled: Error {}

    /// One of them waits for more of the handshake.
    var isStuck: Bool { [client, server].contains { ($0 as? Engine)?.records == nil } }

    /// Shakes hands until both sides have failed or nothing moves any more; what each side threw, in its handshake or when
    /// it first tried to read.
    func failures() -> (client: TLSError?, server: TLSError?) {
        var client: TLSError?, server: TLSError?
        for _ in 0 ..< 10 {
            if client == nil { client = advance(self.client, &toClient, &toServer) }
            if server == nil { server = advance(self.server, &toServer, &toClient) }
        }
        return (client, server)
    }

    private func advance(_ engine: any TLSEngine, _ input: inout [UInt8], _ output: inout [UInt8]) -> TLSError? {
        defer { output += engine.output() }
        do {
            if try engine.handshake(taking: &input) { _ = try engine.open(&input) }
            return nil
        } catch {
            return error as? TLSError
        }
    }
}

extension TLSEngine {
    /// Feeds `input`, `step` bytes at a time, and removes what was consumed.
    func handshake(taking input: inout [UInt8], step: Int = .max) throws -> Bool {
        repeat {
            let result = try input.withUnsafeBytes { try handshake(UnsafeRawBufferPointer(rebasing: $0.prefix(step))) }
            input.removeFirst(result.consumed)
            if result.done { return true }
        } while !input.isEmpty
        return false
    }

    /// All pending output.
    func output() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: pendingOutput)
        let count = bytes.withUnsafeMutableBytes { drainOutput(into: $0) }
        precondition(count == bytes.count)
        return bytes
    }

    /// One `encrypt` of all of `plaintext`.
    func seal(_ plaintext: [UInt8]) throws -> [UInt8] {
        var ciphertext = [UInt8](repeating: 0, count: maximumCiphertext(for: plaintext.count))
        let count = try plaintext.withUnsafeBytes { plaintext in
            try ciphertext.withUnsafeMutableBytes { try encrypt(plaintext, into: $0) }
        }
        return Array(ciphertext[..<count])
    }

    /// Decrypts, `once` or until nothing moves any more, at most `room` bytes a call, and removes what was consumed.
    func open(
        _ ciphertext: inout [UInt8], room: Int = 1 << 16, once: Bool = false
    ) throws -> (bytes: [UInt8], ended: Bool) {
        var plaintext: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: room)
        while true {
            let result = try ciphertext.withUnsafeBytes { ciphertext in
                try buffer.withUnsafeMutableBytes { try decrypt(ciphertext, into: $0) }
            }
            ciphertext.removeFirst(result.consumed)
            plaintext += buffer[..<result.produced]
            if once || result.ended || result.consumed + result.produced == 0 { return (plaintext, result.ended) }
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        let words = (0 ..< (count + 7) / 8).map { _ in next() }
        return words.withUnsafeBytes { Array($0.prefix(count)) }
    }
}
