import ArgumentParser
import CulvertBench
import CulvertTLS
import Foundation

/// How fast the TLS engines encrypt and decrypt, alone, on one core: no sockets, no protocol. The runs of the engines
/// alternate, so that what else the machine does falls on all alike.
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
        let scratch = try Scratch()
        defer { scratch.remove() }
        let credentials = try Credentials(in: scratch.path)
        print("GB/s, median of \(runs) alternating runs (least to most), and how many times OpenSSL's own\n")
        for cipher in Cipher.allCases {
            var measured = Self.kinds.map { _ in [EnginePair.Speed]() }, names = Self.kinds.map { _ in "" }
            for _ in 0 ..< runs {
                for (index, kind) in Self.kinds.enumerated() {
                    let pair = try EnginePair(kind.backend, cipher, credentials, records: kind.records)
                    names[index] = pair.summary
                    measured[index].append(
                        try pair.measure(batch: batch, piece: piece, batches: max(1, megabytes * 1_000_000 / batch)))
                }
            }
            for (name, samples) in zip(names, measured) {
                print(name)
                for (label, figure) in [("seal", \EnginePair.Speed.seal), ("open", \.open)] {
                    let values = samples.map { $0[keyPath: figure] }
                    let ratio = median(values) / median(measured[0].map { $0[keyPath: figure] })
                    print("    \(label)  \(text(values))  \(digits(ratio)) x")
                }
            }
            print("")
        }
    }

    /// Each library's own ciphers, then the fastest of this host; the first is what the others are compared with.
    private static let kinds: [(backend: TLSBackend, records: TLSRecords)] = [
        (.openssl, .library), (.gnutls, .library), (.openssl, .auto),
    ]

    private func text(_ values: [Double]) -> String {
        "\(digits(median(values))) (\(digits(values.min()!)) to \(digits(values.max()!)))"
    }
}

private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

private func digits(_ value: Double) -> String { String(format: "%.3f", value) }
