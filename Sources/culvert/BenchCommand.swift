import ArgumentParser
import BenchSockets
import CLinux
import CulvertBench
import CulvertCompression
import CulvertDaemon
import CulvertIO
import CulvertTLS
import Foundation
import Synchronization

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure what goes through two relays, here or over the real link, and what this host allows.",
        usage: """
            culvert bench [<options>]
            culvert bench serve --listen <address>
            """,
        discussion: """
            By itself it starts two relays on this host with certificates of their own, and takes everything away \
            again. With --through it measures a running relay and its peer, where a service has to lead to \
            'culvert bench serve'. --backend, --records, --lanes, --streams and --compression may be given several \
            times; all that comes of combining them is measured in alternation.
            """,
        subcommands: [Serve.self, Relay.self])

    @Option(help: ArgumentHelp("The library that shakes hands: openssl or gnutls.", valueName: "library"))
    var backend: [TLSBackend] = []

    @Option(
        help: ArgumentHelp(
            "Whose ciphers encrypt then: auto, the fastest of this host; library, the backend's.", valueName: "whose"))
    var records: [TLSRecords] = []

    @Option(help: "aes-256-gcm, as between relays with certificates, or aes-128-gcm, as with pre-shared keys.")
    var cipher: Cipher?

    @Option(help: ArgumentHelp("TLS connections of the session.", valueName: "count"))
    var lanes: [Int] = []

    @Option(help: ArgumentHelp("Streams that send at once.", valueName: "count"))
    var streams: [Int] = []

    @Option(help: ArgumentHelp("What the relays do with what shrinks: none, lz4 or auto.", valueName: "mode"))
    var compression: [CompressionMode] = []

    @Option(help: ArgumentHelp("What to send: random, zero, text, or a file, as a captured migration stream.", valueName: "data"))
    var data = "random"

    @Option(
        help: ArgumentHelp("How long a run sends, as in 10s; default: 3s.", valueName: "time"), transform: Self.time)
    var duration: Duration?

    @Option(
        help: ArgumentHelp("How much a run sends instead, as in 4GiB.", valueName: "size"), transform: Self.size)
    var bytes: Int?

    @Option(help: ArgumentHelp("Runs of each combination.", valueName: "count"))
    var runs = 5

    @Option(help: ArgumentHelp("Measure a running relay and its peer's service.", valueName: "peer/service"))
    var through: String?

    @OptionGroup var admin: AdminOptions

    @Flag(help: "Print JSON.")
    var json = false

    @Option(help: ArgumentHelp("Write a picture of the result.", valueName: "file"))
    var svg: String?

    func validate() throws {
        guard bytes == nil || duration == nil else { throw ValidationError("--bytes and --duration exclude each other.") }
        do throws(BenchError) { try plan.validate() } catch { throw ValidationError("\(error).") }
        if let svg, case let directory = URL(filePath: svg).deletingLastPathComponent().path {
            // Found out before minutes of measuring rather than after.
            guard FileManager.default.isWritableFile(atPath: directory) else {
                throw ValidationError("--svg \(svg): \(directory) is not there or may not be written to.")
            }
        }
        guard let through else { return }
        try validateReference(through)
        guard backend.isEmpty, records.isEmpty, lanes.isEmpty, compression.isEmpty, cipher == nil else {
            throw ValidationError(
                "With --through, the relays' configuration decides on backend, records, cipher, lanes and compression.")
        }
    }

    func run() throws {
        ProcessSetup.prepare()
        let scratch = try Scratch()
        let progress = BenchProgress()
        let isInterrupted = Atomic<Bool>(false)
        let signals = CancellingSignals { reason in
            isInterrupted.store(true, ordering: .sequentiallyConsistent)
            scratch.remove()
            progress.clear()
            printError("culvert: nothing was measured: \(reason)")
            Foundation.exit(1)
        }
        defer {
            signals.stop()
            scratch.remove()
        }
        let report: BenchReport
        do {
            defer { progress.clear() }
            report = try Benchmark(plan, in: scratch, progress: progress.show).run()
        } catch {
            // What fails because everything is being taken away is not worth a word; the signal's handler ends us.
            while isInterrupted.load(ordering: .sequentiallyConsistent) { pause() }
            throw error
        }
        if json { try printJSON(report) } else { try Terminal.write(report.text) }
        if let svg { try report.svg.write(toFile: svg, atomically: true, encoding: .utf8) }
    }

    private var plan: BenchPlan {
        var setups: [BenchPlan.Setup] = []
        for streams in streams.isEmpty ? [1] : streams {
            for lanes in lanes.isEmpty ? [1] : lanes {
                for backend in backend.isEmpty ? [.openssl] : backend {
                    for records in records.isEmpty ? [.auto] : records {
                        for compression in compression.isEmpty ? [.none] : compression {
                            setups.append(
                                .init(
                                    backend: backend, cipher: cipher ?? .aes256, records: records, lanes: lanes,
                                    streams: streams, compression: compression))
                        }
                    }
                }
            }
        }
        let place: BenchPlan.Place =
            if let through { .peer(service: through, admin: admin.client) } else { .local(program: ownPath) }
        var plan = BenchPlan(place: place, setups: setups)
        plan.data = Pattern.Content(rawValue: data).map { .pattern($0) } ?? .file(data)
        plan.runs = runs
        if let duration { plan.extent = .time(duration) }
        if let bytes { plan.extent = .bytes(bytes) }
        return plan
    }

    @Sendable private static func time(_ text: String) throws -> Duration {
        do { return try Units.time.parse(text) } catch { throw ValidationError(error.description) }
    }

    @Sendable private static func size(_ text: String) throws -> Int {
        do { return try Units.size.parse(text) } catch { throw ValidationError(error.description) }
    }
}

extension BenchCommand {
    struct Serve: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Be the far end of a benchmark over the real link.",
            discussion: """
                Name its socket in a service of this host's relay, which also says who may use it; then run \
                'culvert bench --through PEER/SERVICE' on the other host. It ends with Ctrl-C.
                """)

        @Option(help: ArgumentHelp("Where to listen: unix:/PATH or tcp:HOST:PORT.", valueName: "address"))
        var listen: String

        func validate() throws { _ = try endpoint }

        func run() throws {
            ProcessSetup.prepare()
            if case .unix(let path) = try endpoint { StaleSocket.remove(path) }
            let server = try BenchServer(on: endpoint)
            let signals = CancellingSignals { _ in server.stop() }
            defer { signals.stop() }
            try Terminal.write("listening on \(server.endpoint)\n")
            try server.run()
        }

        private var endpoint: Endpoint {
            get throws {
                do { return try Endpoint(listen) } catch { throw ValidationError("--listen \(error).") }
            }
        }
    }

    /// `culvert serve` for as long as the benchmark lives that started it, however it ends.
    struct Relay: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Be one of the relays.", shouldDisplay: false)

        @OptionGroup var serve: ServeCommand

        @Option var parent: Int32

        func run() throws {
            clinux_die_with_parent()
            // It may have died before.
            guard getppid() == parent else { return }
            try serve.run()
        }
    }
}

/// One line on a terminal's stderr that is overwritten; nothing elsewhere.
private struct BenchProgress: Sendable {
    private let isShown = isatty(STDERR_FILENO) == 1

    @Sendable func show(_ text: String) { write("\r\(text.prefix(max(Terminal.width - 1, 0)))\u{1B}[K") }

    func clear() { write("\r\u{1B}[K") }

    private func write(_ text: String) {
        if isShown { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
    }
}

extension TLSBackend: ExpressibleByArgument {}
extension TLSRecords: ExpressibleByArgument {}
extension Cipher: ExpressibleByArgument {}
extension CompressionMode: ExpressibleByArgument {}
