import ArgumentParser
import CulvertDaemon
import Foundation

struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the relay.",
        discussion: """
            SIGHUP reads the configuration and the credentials again; live streams go on. SIGTERM or SIGINT lets \
            streams finish, at most relay.drain long; a second one stops at once.
            """)

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config = Configuration.defaultFile

    func run() throws {
        SignalThread.block()
        ProcessSetup.prepare()
        let configuration = try Configuration.load(config)
        let daemon = Daemon(
            configuration: configuration, log: LogOutput(settings: configuration.log),
            notifier: ServiceNotifier(environment: ProcessInfo.processInfo.environment))
        let (signals, continuation) = AsyncStream.makeStream(of: DaemonSignal.self)
        Task.detached {
            do {
                try await daemon.run(signals: signals)
                Foundation.exit(0)
            } catch {
                Main.end(with: error)
            }
        }
        SignalThread.run { continuation.yield($0) }
    }
}
