import ArgumentParser
import CulvertTLS
import Foundation

/// How fast the TLS engines encrypt and decrypt, alone, on one core: no sockets, no protocol. The runs of the engines
/// alternate, so that what else the machine does falls on both alike.
@main
struct Engines: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert-engines", abstract: "Measures the TLS engines in memory; prints GB/s.")

    @Option(help: "Plaintext bytes a batch.")
    var batch = 256 << 10

    @Option(help: "Plaintext bytes a call, as in the pieces that a lane encrypts.")
    var piece = 64 << 10

    @Option(help: "MB a run.")
    var megabytes = 1000

    @Option(help: "Runs of each engine.")
    var runs = 7

    func validate() throws {
        guard batch > 0, piece > 0, batch.isMultiple(of: piece), megabytes > 0, runs > 0 else {
            throw ValidationError("sizes are positive, and --batch is a multiple of --piece")
        }
    }

    func run() throws {
        let directory = try Scratch()
        print("GB/s, median of \(runs) alternating runs (least to most)\n")
        for (name, client, server) in try directory.credentials() {
            var samples: [TLSBackend: [Sample]] = [:]
            for _ in 0 ..< runs {
                for backend in TLSBackend.allCases {
                    let pair = try Pair(TLSSettings(client, backend: backend), TLSSettings(server, backend: backend))
                    samples[backend, default: []].append(
                        try pair.measure(batch: batch, piece: piece, batches: max(1, megabytes * 1_000_000 / batch)))
                }
            }
            for backend in TLSBackend.allCases {
                let samples = samples[backend]!
                print("\(name)  \(backend)  seal \(text(samples.map(\.seal)))  open \(text(samples.map(\.open)))")
            }
            let ratio = { (figure: (Sample) -> Double) in
                median(samples[.gnutls]!.map(figure)) / median(samples[.openssl]!.map(figure))
            }
            print("\(name)  gnutls/openssl  seal \(digits(ratio(\.seal)))  open \(digits(ratio(\.open)))\n")
        }
    }

    private func text(_ values: [Double]) -> String {
        "\(digits(median(values))) (\(digits(values.min()!)) to \(digits(values.max()!)))"
    }
}

private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

private func digits(_ value: Double) -> String { String(format: "%.3f", value) }

/// GB/s of CPU time.
struct Sample {
    var seal: Double
    var open: Double
}

/// Two engines that have shaken hands.
final class Pair {
    private let client: any TLSEngine
    private let server: any TLSEngine

    init(_ dialling: TLSSettings, _ accepting: TLSSettings) throws {
        client = try TLSContext(dialling).makeEngine(.client, with: "hostb")
        server = try TLSContext(accepting).makeEngine(.server)
        var toServer: [UInt8] = [], toClient: [UInt8] = []
        for _ in 0 ..< 4 {
            try Self.advance(client, &toClient, &toServer)
            try Self.advance(server, &toServer, &toClient)
        }
    }

    private static func advance(_ engine: any TLSEngine, _ input: inout [UInt8], _ output: inout [UInt8]) throws {
        let consumed = try input.withUnsafeBytes { try engine.handshake($0).consumed }
        input.removeFirst(consumed)
        output += [UInt8](unsafeUninitializedCapacity: engine.pendingOutput) { buffer, count in
            count = engine.drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }

    /// Seals a batch in pieces, as a lane does, then opens it at once.
    func measure(batch: Int, piece: Int, batches: Int) throws -> Sample {
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
            let start = cpuTime()
            var end = 0
            for offset in stride(from: 0, to: batch, by: piece) {
                end += try client.encrypt(
                    UnsafeRawBufferPointer(rebasing: plaintext[offset ..< offset + piece]), into: .init(rebasing: ciphertext[end...]))
            }
            let middle = cpuTime()
            var consumed = 0, produced = 0
            while consumed < end {
                let step = try server.decrypt(
                    UnsafeRawBufferPointer(rebasing: ciphertext[consumed ..< end]), into: .init(rebasing: opened[produced...]))
                consumed += step.consumed
                produced += step.produced
            }
            sealing += middle - start
            opening += cpuTime() - middle
            precondition(produced == batch && memcmp(opened.baseAddress!, plaintext.baseAddress!, batch) == 0)
        }
        let gigabytes = Double(batch) * Double(batches) / 1e9
        return Sample(seal: gigabytes / sealing, open: gigabytes / opening)
    }

    /// Seconds of this thread.
    private func cpuTime() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// Credentials of two hosts in a directory that goes with it.
final class Scratch {
    private let path = NSTemporaryDirectory() + "culvert-engines-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// What the client and the server work with, by the cipher that it leads to.
    func credentials() throws -> [(cipher: String, client: CredentialSource, server: CredentialSource)] {
        let pki = PKIDirectory(path)
        try pki.makeAuthority(CertificateTerms(name: "CA", days: 100))
        for host in ["hosta", "hostb"] {
            var terms = CertificateTerms(name: host, days: 30)
            terms.dnsNames = [host]
            try pki.issue(terms)
        }
        let key = String(repeating: "5a", count: 32)
        for (file, peer) in [("a.psk", "hostb"), ("b.psk", "hosta")] {
            try "\(peer):\(key)\n".write(toFile: "\(path)/\(file)", atomically: false, encoding: .utf8)
        }
        return [
            ("AES-256-GCM", .files(pki.files(of: "hosta")), .files(pki.files(of: "hostb"))),
            ("AES-128-GCM", .keys(file: "\(path)/a.psk", user: "hosta"), .keys(file: "\(path)/b.psk", user: "hostb")),
        ]
    }
}
