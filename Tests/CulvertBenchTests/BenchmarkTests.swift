import CulvertDaemon
import CulvertTLS
import CulvertTestSupport
import Foundation
import Synchronization
import Testing

@testable import CulvertBench

/// The whole of it, with small sizes, through relays that are the real program.
@Suite(.serialized) struct BenchmarkTests {
    /// What `CULVERT_BINARY` names, else the program next to the tests.
    static let culvert =
        ProcessInfo.processInfo.environment["CULVERT_BINARY"]
        ?? URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .appending(path: "culvert").path

    private func small(_ place: BenchPlan.Place, _ setups: [BenchPlan.Setup]) -> BenchPlan {
        var plan = BenchPlan(place: place, setups: setups)
        plan.extent = .bytes(4_000_000)
        plan.runs = 2
        plan.requests = 10
        plan.requestTime = .seconds(60)
        plan.probeBytes = 1 << 20
        return plan
    }

    private func check(_ rows: [BenchReport.Row]) throws {
        for row in rows {
            #expect(row.samples.count == 2)
            #expect(row.samples.allSatisfy { $0.bytes == 4_000_000 && $0.seconds > 0 })
            #expect(row.samples.allSatisfy { $0.roundTrips.count == 10 && $0.roundTripsUnderLoad.count == 10 })
            #expect(try #require(row.sendingRelay).least > 0)
            #expect(try #require(row.receivingRelay).least > 0)
            #expect(try #require(row.share) > 0)
        }
    }

    @Test(.timeLimit(.minutes(2))) func bothEnginesAndCiphersOnThisHost() throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let setups = [BenchPlan.Setup(), .init(backend: .gnutls, cipher: .aes128, lanes: 2, streams: 3)]
        let stages = Mutex<Set<String>>([])
        let report = try Benchmark(small(.local(program: Self.culvert), setups), in: scratch) { stage in
            stages.withLock { _ = $0.insert(stage) }
        }.run()
        let expected = setups.map { Self.sealed($0) }
        #expect(report.rows.map(\.setup) == expected)
        try check(report.rows)
        #expect(report.limits.framing.send > 0 && report.limits.framing.receive > 0)
        #expect(report.limits.ciphers.map(\.cipher) == [.aes256, .aes128])
        #expect(stages.withLock { $0.contains("run 2 of 2, \(expected[1].label): verifying") })
        #expect(!FileManager.default.fileExists(atPath: "\(scratch.path)/relays"))
        scratch.remove()
        #expect(!FileManager.default.fileExists(atPath: scratch.path))
    }

    @Test(.timeLimit(.minutes(2))) func theLibrarysOwnCiphersAreNamed() throws {
        let report = try reportOfRelays(with: .library)
        #expect(report.rows[0].setup.label == "OpenSSL AES-256-GCM, 1 lane, 1 stream")
        #expect(report.limits.ciphers.map(\.sealer) == ["OpenSSL"])
        #expect(report.text.contains("OpenSSL AES-256-GCM, seal"))
        #expect(!report.text.contains("ipsec-mb"))
    }

    @Test(.enabled(if: fasterRecords != nil, "needs libipsec-mb"), .timeLimit(.minutes(2)))
    func fasterCiphersAreNamedWhereTheySealTheRecords() throws {
        let report = try reportOfRelays(with: .auto)
        let name = try #require(Self.fasterRecords)
        #expect(name.hasPrefix("ipsec-mb "))
        #expect(report.rows[0].setup.label == "OpenSSL with \(name) AES-256-GCM, 1 lane, 1 stream")
        #expect(report.limits.ciphers.map(\.sealer) == [name])
        #expect(report.text.contains("\(name) AES-256-GCM, seal"))
        #expect(!report.text.contains("OpenSSL AES-256-GCM"))
        let json = try #require(JSONSerialization.jsonObject(with: JSONEncoder().encode(report)) as? [String: Any])
        let setup = try #require((json["rows"] as? [[String: Any]])?.first?["setup"] as? [String: Any])
        #expect(setup["sealer"] as? String == name)
        #expect(setup["backend"] as? String == "openssl")
    }

    private func reportOfRelays(with records: TLSRecords) throws -> BenchReport {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let plan = small(.local(program: Self.culvert), [.init(records: records)])
        return try Benchmark(plan, in: scratch, progress: { _ in }).run()
    }

    @Test(.timeLimit(.minutes(2))) func throughARunningRelay() throws {
        let (scratch, relays) = (try Scratch(), try Scratch())
        defer {
            scratch.remove()
            relays.remove()
        }
        let exit = "\(relays.path)/exit.sock"
        let server = try BenchServer(on: .unix(path: exit))
        let serving = Worker { try server.run() }
        defer { server.stop() }
        let credentials = try Credentials(in: relays.path)
        let pair = try RelayPair(
            .init(backend: .gnutls), program: Self.culvert, exit: exit, credentials: credentials, in: relays)
        let admin = AdminClient(path: "\(relays.path)/relays/near.admin")
        let report = try Benchmark(
            small(.peer(service: "far/bench", admin: admin), [.init(streams: 2)]), in: scratch, progress: { _ in }
        ).run()
        // The relay knows best what it encrypts with.
        #expect(report.rows.map(\.setup) == [Self.sealed(.init(backend: .gnutls, streams: 2))])
        try check(report.rows)
        #expect(report.through == "far/bench")
        pair.stop()
        server.stop()
        try serving.value()
    }

    @Test(.timeLimit(.minutes(1))) func aRelayThatWillNotStartSaysWhy() throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let error = #expect(throws: BenchError.self) {
            try Benchmark(small(.local(program: "/bin/false"), [.init()]), in: scratch, progress: { _ in }).run()
        }
        #expect(try #require(error).description.hasPrefix("the far relay ended"))
    }

    @Test(.timeLimit(.minutes(1))) func nothingIsLeftAfterAnInterruption() async throws {
        let directory = try TemporaryDirectory()
        let bench = try ChildProcess(
            "env", ["TMPDIR=\(directory.path)", Self.culvert, "bench", "--duration", "10m", "--runs", "1"],
            output: directory("output"))
        try await waitUntil("the relays run; culvert bench wrote: \(bench.output)") { Self.relays(in: directory.path) == 2 }
        bench.signal(SIGINT)
        #expect(try await bench.waitForExit() == .code(1))
        #expect(bench.output == "culvert: nothing was measured: it was interrupted\n")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["output"])
        #expect(Self.relays(in: directory.path) == 0)
    }

    @Test(.timeLimit(.minutes(1))) func relaysEndWithWhoeverStartedThem() async throws {
        let directory = try TemporaryDirectory()
        let bench = try ChildProcess(
            "env", ["TMPDIR=\(directory.path)", Self.culvert, "bench", "--duration", "10m", "--runs", "1"],
            output: directory("output"))
        try await waitUntil("the relays run; culvert bench wrote: \(bench.output)") { Self.relays(in: directory.path) == 2 }
        bench.kill()
        try await waitUntil("the relays are gone") { Self.relays(in: directory.path) == 0 }
    }

    @Test(.timeLimit(.minutes(1))) func theFarEndTakesTheSocketOfADeadOneAndLeavesNone() async throws {
        let directory = try TemporaryDirectory()
        let socket = directory("bench.sock")
        func serve(_ log: String) async throws -> ChildProcess {
            let server = try ChildProcess(
                Self.culvert, ["bench", "serve", "--listen", "unix:\(socket)"], output: directory(log))
            try await waitUntil("it listens; it wrote: \(server.output)") { server.output == "listening on unix:\(socket)\n" }
            return server
        }
        let first = try await serve("first")
        first.kill()
        #expect(FileManager.default.fileExists(atPath: socket))
        let second = try await serve("second")
        #expect(try Probe(route: SocketRoute(path: socket)).roundTrips(3, within: .seconds(60)).count == 3)
        second.signal(SIGINT)
        #expect(try await second.waitForExit() == .code(0))
        #expect(!FileManager.default.fileExists(atPath: socket))
    }

    /// Whose ciphers relays prefer to their library's on this host, by name; nil: nobody's.
    private static let fasterRecords: String? = {
        guard let scratch = try? Scratch() else { return nil }
        defer { scratch.remove() }
        let summary = try? EnginePair(.openssl, .aes256, Credentials(in: scratch.path)).summary
        return summary?.components(separatedBy: ", records by ").dropFirst().first
    }()

    /// The setup as relays on this host carry it out.
    private static func sealed(_ asked: BenchPlan.Setup) -> BenchPlan.Setup {
        var setup = asked
        setup.records = fasterRecords == nil ? .library : .auto
        setup.sealer = fasterRecords ?? asked.backend.name
        return setup
    }

    /// Running processes whose command line names `directory`, as relays' do.
    private static func relays(in directory: String) -> Int {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.filter { process in
            guard Int(process) != nil, let words = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") else { return false }
            return String(decoding: words, as: UTF8.self).contains("--config\0\(directory)")
        }.count
    }
}
