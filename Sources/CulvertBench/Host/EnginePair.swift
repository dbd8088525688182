import CulvertTLS
import Glibc

/// Two TLS engines that have shaken hands, in memory.
public final class EnginePair {
    /// GB/s of CPU time.
    public struct Speed: Sendable {
        public var seal: Double
        public var open: Double
    }

    private let client: any TLSEngine
    private let server: any TLSEngine

    /// What the engines are made of, for people.
    public var summary: String { client.summary }

    /// Both of one library.
    public init(
        _ backend: TLSBackend, _ cipher: Cipher, _ credentials: Credentials, records: TLSRecords = .auto
    ) throws {
        func context(_ host: String) throws -> TLSContext {
            try TLSContext(
                TLSSettings(credentials.source(of: host, for: cipher), backend: backend, records: records))
        }
        client = try context(Credentials.near).makeEngine(.client, with: Credentials.far)
        server = try context(Credentials.far).makeEngine(.server)
        var toServer: [UInt8] = [], toClient: [UInt8] = []
        for _ in 0 ..< 4 {
            try Self.advance(client, &toClient, &toServer)
            try Self.advance(server, &toServer, &toClient)
        }
    }

    convenience init(_ setup: BenchPlan.Setup, _ credentials: Credentials) throws {
        try self.init(setup.backend, setup.cipher, credentials, records: setup.records)
    }

    private static func advance(_ engine: any TLSEngine, _ input: inout [UInt8], _ output: inout [UInt8]) throws {
        let consumed = try input.withUnsafeBytes { try engine.handshake($0).consumed }
        input.removeFirst(consumed)
        output += [UInt8](unsafeUninitializedCapacity: engine.pendingOutput) { buffer, count in
            count = engine.drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }

    /// Seals a batch in pieces, as a lane does, then opens it at once.
    /// - Parameter batch: a multiple of `piece`, in bytes.
    public func measure(batch: Int, piece: Int, batches: Int) throws -> Speed {
        let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: batch, alignment: 4096)
        let opened = UnsafeMutableRawBufferPointer.allocate(byteCount: batch + (16 << 10), alignment: 4096)
        let room = batch / piece * client.maximumCiphertext(for: piece)
        let ciphertext = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 4096)
        defer {
            plaintext.deallocate()
            opened.deallocate()
            ciphertext.deallocate()
        }
        for index in plaintext.indices { plaintext[index] = UInt8(truncatingIfNeeded: index &* 31) }
        var sealing = 0.0, opening = 0.0
        for _ in 0 ..< batches {
            let start = Clock.threadCPU
            var end = 0
            for offset in stride(from: 0, to: batch, by: piece) {
                end += try client.encrypt(
                    UnsafeRawBufferPointer(rebasing: plaintext[offset ..< offset + piece]), into: .init(rebasing: ciphertext[end...]))
            }
            let middle = Clock.threadCPU
            var consumed = 0, produced = 0
            while consumed < end {
                let step = try server.decrypt(
                    UnsafeRawBufferPointer(rebasing: ciphertext[consumed ..< end]), into: .init(rebasing: opened[produced...]))
                consumed += step.consumed
                produced += step.produced
            }
            sealing += middle - start
            opening += Clock.threadCPU - middle
            precondition(produced == batch && memcmp(opened.baseAddress!, plaintext.baseAddress!, batch) == 0)
        }
        let gigabytes = Double(batch) * Double(batches) / 1e9
        return Speed(seal: gigabytes / sealing, open: gigabytes / opening)
    }
}
