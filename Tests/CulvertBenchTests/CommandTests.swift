import CulvertTestSupport
import Foundation
import Testing

@testable import CulvertBench

/// `culvert bench` as a person runs it: options in, JSON, tables and a picture out.
@Suite(.serialized) struct CommandTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test(.timeLimit(.minutes(3))) func everyCombinationIsMeasuredWithWhatWasAskedFor() async throws {
        // Lines that differ a little, as text does: LZ4 makes something of them.
        let lines = (0 ..< 100_000).map { "line \($0)" }.joined(separator: "\n")
        try lines.write(toFile: directory("data"), atomically: false, encoding: .utf8)
        try await bench(
            "--bytes", "3000001B", "--data", directory("data"), "--compression", "lz4", "--compression", "none", "--lanes", "2",
            "--streams", "2", "--runs", "2", "--json", "--svg", directory("result.svg"))

        let report = try JSONDecoder().decode(BenchReport.self, from: Data(contentsOf: URL(filePath: directory("output"))))
        #expect(report.through == nil)
        #expect(report.data == directory("data"))
        #expect(report.rows.map(\.setup.compression) == [.lz4, .none])
        for row in report.rows {
            #expect(row.setup.lanes == 2 && row.setup.streams == 2)
            #expect(row.setup.backend == .openssl && row.setup.cipher == .aes256)
            #expect(row.samples.count == 2)
            #expect(row.samples.allSatisfy { $0.bytes == 3_000_001 && $0.seconds > 0 })
            #expect(row.samples.allSatisfy { $0.roundTrips.count > 0 && $0.roundTripsUnderLoad.count > 0 })
            let rates = row.samples.map(\.megabytesPerSecond)
            #expect(row.megabytesPerSecond.least == rates.min() && row.megabytesPerSecond.most == rates.max())
            #expect(try #require(row.sendingRelay).least > 0)
            #expect(try #require(row.receivingRelay).least > 0)
        }
        // What a byte costs that is compressed depends on the byte.
        #expect(report.rows.map { $0.possible == nil } == [true, false])

        let drawing = try Drawing(String(contentsOfFile: directory("result.svg"), encoding: .utf8))
        for row in report.rows { #expect(drawing.words.contains { $0.contains(row.setup.label) }, "\(drawing.words)") }
    }

    /// A shell's usual limit of descriptors bounds no benchmark: the program may raise it, as relays do.
    @Test(.timeLimit(.minutes(3))) func aRunByTimeWithMoreStreamsThanTheSoftLimit() async throws {
        let bench = try ChildProcess(
            "sh",
            ["-c", "ulimit -S -n 128 && exec \"$0\" bench --duration 200ms --runs 1 --streams 150", BenchmarkTests.culvert],
            output: directory("output"))
        #expect(try await bench.waitForExit(limit: .seconds(150)) == .code(0), "\(bench.output)")
        #expect(bench.output.contains("1 lane, 150 streams: "))
        #expect(bench.output.contains("This host alone, each step on one core:\n"))
        #expect(!bench.output.contains("nan"))
    }

    /// Runs it to its end, with success, stdout in `output`.
    private func bench(_ words: String...) async throws {
        let process = try ChildProcess(
            BenchmarkTests.culvert, ["bench"] + words, output: directory("output"), errors: directory("errors"))
        let exit = try await process.waitForExit(limit: .seconds(150))
        let errors = try String(contentsOfFile: directory("errors"), encoding: .utf8)
        #expect(exit == .code(0) && errors.isEmpty, "\(errors)")
    }
}
