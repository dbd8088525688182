import CulvertTestSupport
import Foundation
import Testing

@testable import CulvertBench

/// What `culvert bench` says of a command line that cannot be meant, before it measures anything.
@Suite struct UsageTests {
    /// Runs the command to its end; returns what it wrote to either output.
    private func bench(_ words: [String]) async throws -> (exit: ChildProcess.Exit, text: String) {
        let directory = try TemporaryDirectory()
        let process = try ChildProcess(BenchmarkTests.culvert, ["bench"] + words, output: directory("output"))
        return (try await process.waitForExit(), process.output)
    }

    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            ("--bytes 64", "'--bytes <size>': '64' has no unit"),
            ("--bytes 0B", "--bytes or --duration 0"),
            ("--duration 3", "'--duration <time>': '3' has no unit"),
            ("--duration 0s", "--bytes or --duration 0"),
            ("--bytes 1MiB --duration 1s", "--bytes and --duration exclude each other"),
            ("--runs 0", "--runs counts from 1"),
            ("--lanes 0", "--lanes 0: a session has 1 to 16"),
            ("--lanes 1 --lanes 17", "--lanes 17: a session has 1 to 16"),
            ("--streams 0", "--streams 0: the far end takes 1 to 1000"),
            ("--streams 1001", "--streams 1001: the far end takes 1 to 1000"),
            ("--through hostb/bench --streams 2000", "--streams 2000: the far end takes 1 to 1000"),
            ("--streams many", "'--streams <count>'"),
            ("--compression zip", "'--compression <mode>'. Please provide one of 'none', 'lz4' or 'auto'"),
            ("--backend boringssl", "'--backend <library>'"),
            ("--records fast", "'--records <whose>'"),
            ("--cipher rot13", "'--cipher <cipher>'"),
            ("--svg /nonexistent/result.svg", "--svg /nonexistent/result.svg: /nonexistent is not there"),
            ("--through hostb", "'hostb' is not PEER/SERVICE"),
            ("--through hostb/bench --lanes 2", "With --through, the relays' configuration decides on"),
            ("serve", "'--listen <address>'"),
            ("serve --listen /run/x.sock", "--listen '/run/x.sock': starts with neither unix: nor tcp:"),
        ])
    func wrongUsageIsNamed(words: String, text: String) async throws {
        let said = try await bench(words.split(separator: " ").map(String.init))
        #expect(said.exit == .code(2))
        #expect(said.text.contains(text), "it says: \(said.text)")
        #expect(said.text.contains("culvert bench"))
    }

    @Test(.timeLimit(.minutes(1))) func aFileThatIsNotThereIsNamed() async throws {
        let said = try await bench(["--bytes", "1MiB", "--data", "/nonexistent"])
        #expect(said.exit == .code(1))
        #expect(said.text == "culvert: cannot read /nonexistent: No such file or directory\n")
    }

    @Test func moreStreamsThanDescriptorsAreFoundOutAtOnce() async throws {
        let directory = try TemporaryDirectory()
        let bench = try ChildProcess(
            "sh", ["-c", "ulimit -n 512 && exec \"$0\" bench --streams 600", BenchmarkTests.culvert], output: directory("output"))
        #expect(try await bench.waitForExit() == .code(1))
        #expect(bench.output == "culvert: 600 streams take 1264 descriptors here, and there may be 512: see 'ulimit -n'\n")
    }

    /// What the far end has beyond the most streams suffices for round trips.
    @Test func aPlanKnowsItsBounds() throws {
        var plan = BenchPlan(place: .local(program: "culvert"), setups: [.init(lanes: 16, streams: BenchPlan.mostStreams)])
        try plan.validate()
        #expect(BenchPlan.mostStreams < BenchServer.mostConnections)
        plan.extent = .time(.zero)
        #expect(throws: BenchError.self) { try plan.validate() }
    }
}
