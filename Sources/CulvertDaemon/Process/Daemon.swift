import CulvertRelay
import CulvertTLS
import Foundation
import Logging

/// One `culvert serve`: the relay, its admin interface, and what the outside tells them.
public struct Daemon: Sendable {
    private let log: LogOutput
    private let logger: Logger
    private let notifier: ServiceNotifier
    private let configuration: Configuration

    public init(configuration: Configuration, log: LogOutput, notifier: ServiceNotifier) {
        self.configuration = configuration
        self.log = log
        self.notifier = notifier
        logger = log.logger()
    }

    /// Serves until `signals` ask it to stop: the first `.stop` drains, the second cuts. Nothing stays open afterwards.
    public func run(signals: AsyncStream<DaemonSignal>) async throws {
        let tls = try configuration.loadCredentials()
        warn(of: configuration, tls)
        try AdminServer.checkFree(configuration.admin)
        try makeSocketDirectories(configuration)
        let relay = try Relay(settings: configuration.relay, tls: tls, logger: logger)
        // What can fail comes before peers hear of this relay. Who asks already is answered once it has started.
        let metrics = configuration.metrics.map { MetricsServer(address: $0, control: relay, logger: logger) }
        try await metrics?.start()
        do {
            try await relay.start()
        } catch {
            await metrics?.stop()
            throw error
        }
        let admin = AdminServer(
            path: configuration.admin, control: relay, runtimeDirectory: configuration.relay.runtimeDirectory,
            logger: logger)
        do {
            try await admin.start()
        } catch {
            await metrics?.stop()
            await relay.stop()
            throw error
        }
        await notifyReady(relay)
        let watchdog = Task { await feedWatchdog(relay) }
        await serve(relay, signals)
        watchdog.cancel()
        await metrics?.stop()
        await admin.stop()
        await relay.stop()
        logger.notice("stopped")
    }

    // MARK: Life

    private enum Event: Sendable {
        case signal(DaemonSignal)
        /// How many streams it had to cut.
        case drained(Int)
    }

    /// Returns when the relay has drained, or at the second `.stop`.
    private func serve(_ relay: Relay, _ signals: AsyncStream<DaemonSignal>) async {
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        let forwarding = Task {
            for await signal in signals { continuation.yield(.signal(signal)) }
        }
        defer { forwarding.cancel() }
        var current = configuration
        var draining = false
        for await event in events {
            switch event {
            case .signal(.reload) where draining:
                logger.warning("reload ignored: the relay is stopping")
            case .signal(.reload):
                await reload(relay, &current)
            case .signal(.stop) where draining:
                logger.warning("stopped at once: asked a second time")
                return
            case .signal(.stop):
                draining = true
                let limit = current.drain
                logger.notice("draining", metadata: ["limit": "\(Units.time.text(limit))"])
                notifier.send(.stopping(within: limit + .seconds(5)), status: "draining")
                Task { continuation.yield(.drained(await relay.drain(within: limit))) }
            case .drained(let cut):
                if cut > 0 { logger.warning("drain ran out of time", metadata: ["cut": "\(cut)"]) }
                return
            }
        }
    }

    /// Takes over the file as it is now, or changes nothing and says why.
    private func reload(_ relay: Relay, _ current: inout Configuration) async {
        notifier.send(.reloading)
        do {
            var next = try Configuration.load(current.file)
            let tls = try next.loadCredentials()
            keepWhatNeedsRestart(of: current, in: &next)
            try makeSocketDirectories(next)
            try await relay.apply(settings: next.relay, tls: tls)
            log.settings = next.log
            current = next
            warn(of: next, tls)
            logger.notice("configuration reloaded", metadata: ["file": "\(next.file)"])
        } catch let error as ConfigurationError {
            for problem in error.problems { logger.error("\(problem)") }
            logger.error("reload refused, nothing changed", metadata: ["errors": "\(error.problems.count)"])
        } catch {
            logger.error("reload refused, nothing changed: \(error)")
        }
        await notifyReady(relay)
    }

    private func warn(of configuration: Configuration, _ tls: TLSContext) {
        for warning in configuration.allWarnings(tls) { logger.warning("\(warning)") }
        if let obstacle = tls.obstacleToFasterRecords {
            logger.info("encryption is not the fastest there is", metadata: ["reason": "\(obstacle)"])
        }
    }

    private func keepWhatNeedsRestart(of current: Configuration, in next: inout Configuration) {
        func keep<Value: Equatable>(_ key: String, _ path: WritableKeyPath<Configuration, Value>) {
            guard next[keyPath: path] != current[keyPath: path] else { return }
            logger.warning("\(next.places.problem(key, "takes effect when the relay is restarted"))")
            next[keyPath: path] = current[keyPath: path]
        }
        keep("relay.name", \.relay.name)
        keep("relay.admin", \.admin)
        keep("relay.metrics", \.metrics)
        keep("relay.loops", \.relay.loops)
        keep("limits.relay-memory", \.relay.limits.relayMemory)
        next.relay.runtimeDirectory = current.relay.runtimeDirectory
    }

    private func makeSocketDirectories(_ configuration: Configuration) throws(DaemonError) {
        do throws(SystemError) {
            for directory in configuration.socketDirectories { try FilePath.makeDirectory(directory) }
        } catch {
            throw DaemonError("cannot \(error)")
        }
    }

    // MARK: Service manager

    private func notifyReady(_ relay: Relay) async {
        let status = await relay.status()
        logger.info(
            "ready",
            metadata: [
                "relay": "\(status.name)", "version": "\(status.version)",
                "listen": "\(status.listen.joined(separator: ","))",
                "peers": "\(status.peers.count)", "services": "\(status.services.count)",
                "forwards": "\(status.forwards.count)",
            ])
        notifier.send(.ready, status: "relay \(status.name) on \(status.listen.joined(separator: ", "))")
    }

    /// A relay whose loops hang does not answer, and then neither does this.
    private func feedWatchdog(_ relay: Relay) async {
        guard let interval = notifier.watchdogInterval else { return }
        while !Task.isCancelled {
            let status = await relay.status()
            let sessions = status.peers.count { !$0.sessions.isEmpty }
            notifier.send(
                .alive,
                status: "relay \(status.name): \(sessions) of \(status.peers.count) peers connected"
                    + (status.draining ? ", draining" : ""))
            try? await Task.sleep(for: interval)
        }
    }
}
