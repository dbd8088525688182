import ArgumentParser
import CulvertBench
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
        let scratch = try Scratch()
        defer { scratch.remove() }
        let credentials = try Credentials(in: scratch.path)
        print("GB/s, median of \(runs) alternating runs (least to most)\n")
        for cipher in Cipher.allCases {
            let name = cipher.name
            var samples: [TLSBackend: [EnginePair.Speed]] = [:]
            for _ in 0 ..< runs {
                for backend in TLSBackend.allCases {
                    let pair = try EnginePair(backend, cipher, credentials)
                    samples[backend, default: []].append(
                        try pair.measure(batch: batch, piece: piece, batches: max(1, megabytes * 1_000_000 / batch)))
                }
            }
            for backend in TLSBackend.allCases {
                let samples = samples[backend]!
                print("\(name)  \(backend)  seal \(text(samples.map(\.seal)))  open \(text(samples.map(\.open)))")
            }
            let ratio = { (figure: (EnginePair.Speed) -> Double) in
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
