import ArgumentParser
import CulvertDaemon
import CulvertHypervisor
import CulvertIO
import CulvertRelay
import Foundation

struct MigrateQEMUCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "qemu",
        abstract: "Move a running guest from one QEMU to another that waits with -incoming defer.",
        discussion: """
            Ctrl-C, SIGTERM, a lost terminal or --timeout cancel the migration. If it fails before the guest has moved, the guest goes on at the \
            source and the cause is printed. In post-copy there is no way back: then the command goes on until the guest \
            has all of its memory, and a second Ctrl-C or the timeout leaves that to the QEMUs.
            """)

    @OptionGroup var admin: AdminOptions

    @Option(help: ArgumentHelp("The source QEMU's QMP socket, unix:/PATH.", valueName: "unix:qmp"))
    var source: String

    @Option(help: ArgumentHelp("The peer, and its service that leads to the destination QEMU's QMP.", valueName: "peer/service"))
    var destination: String

    @Option(help: "Names the migration on both hosts; by default a random name.")
    var name: String?

    @Option(help: ArgumentHelp("Send memory through so many channels at once.", valueName: "channels"))
    var multifd: Int?

    @Flag(help: "Move the guest before its memory has all arrived.")
    var postcopy = false

    @Option(help: ArgumentHelp("With --postcopy, after so many passes over the memory; default: at once.", valueName: "passes"))
    var postcopyAfter: Int?

    @Flag(help: "With --postcopy, fetch pages the guest waits for through a channel of their own.")
    var postcopyPreempt = false

    @Option(
        help: ArgumentHelp("Most bytes a second, as in 100MiB/s; default: no limit.", valueName: "size/s"),
        transform: Quantity.rate)
    var bandwidth = MigrationPlan.unlimitedBandwidth

    @Option(help: ArgumentHelp("The pause of the guest to aim at; default: 300ms.", valueName: "time"), transform: Quantity.time)
    var downtime = Duration.milliseconds(300)

    @Flag(help: "Slow the guest down if it writes memory faster than it can be sent.")
    var autoConverge = false

    @Option(help: ArgumentHelp("Cancel if it takes longer, as in 10m.", valueName: "time"), transform: Quantity.time)
    var timeout: Duration?

    @Option(help: ArgumentHelp("Cancel if no byte moves for so long; default: 2m.", valueName: "time"), transform: Quantity.time)
    var stallTimeout = Duration.seconds(120)

    @Option(help: ArgumentHelp("The peer's service for streams; it has {name} in its path.", valueName: "service"))
    var migrateService = "migrate"

    @Option(help: ArgumentHelp("Send the stream through this service instead; needs --incoming.", valueName: "peer/service"))
    var stream: String?

    @Option(help: ArgumentHelp("Where the destination QEMU waits, as in tcp:127.0.0.1:4444; needs --stream.", valueName: "uri"))
    var incoming: String?

    @Option(help: ArgumentHelp("Where the source QEMU reaches the relay, as in tcp:127.0.0.1:0.", valueName: "address"))
    var listen: String?

    @Option(help: "Who owns the socket that the source QEMU connects to, if QEMU is not root: a user.")
    var socketOwner: String?

    @Option(help: "The same for the group.")
    var socketGroup: String?

    @Flag(help: "Have the source QEMU start 'culvert connect' instead of connecting to a socket.")
    var exec = false

    @Flag(help: "End the source QEMU once the guest runs at the destination.")
    var quitSource = false

    @Flag(help: "End the destination QEMU if the guest stays at the source.")
    var quitDestination = false

    @OptionGroup var output: MigrationOutput

    func validate() throws { _ = try plan() }

    func run() async throws {
        let plan = try plan()
        let tunnel = RelayTunnel(admin: admin.client, owner: socketOwner, group: socketGroup)
        let migration = QEMUMigration(plan: plan, tunnel: tunnel, report: output.display(destination: plan.peer).show)
        let signals = CancellingSignals { migration.cancel($0) }
        defer { signals.stop() }
        _ = try await migration.run()
    }

    // MARK: The plan

    func plan() throws -> MigrationPlan {
        guard let far = ServiceReference(destination) else {
            throw ValidationError("--destination '\(destination)' is not PEER/SERVICE.")
        }
        guard case .unix(let path) = try endpoint(source, "--source") else {
            throw ValidationError("--source '\(source)' is not a UNIX socket, as in unix:/run/web1.qmp.")
        }
        var plan = MigrationPlan(source: path, peer: far.peer, destinationService: far.service)
        plan.name = name
        plan.multifd = multifd
        if postcopy {
            plan.postcopy = .init(afterPasses: postcopyAfter ?? 0, preempt: postcopyPreempt)
        } else if postcopyAfter != nil || postcopyPreempt {
            throw ValidationError("--postcopy-after and --postcopy-preempt go with --postcopy.")
        }
        plan.bandwidth = bandwidth
        plan.downtime = downtime
        plan.autoConverge = autoConverge
        plan.timeout = timeout
        plan.stallTimeout = stallTimeout
        plan.quitSource = quitSource
        plan.quitDestination = quitDestination
        plan.route = try route(peer: far.peer)
        plan.leg = try leg()
        if let fault = plan.fault { throw ValidationError("\(fault.prefix(1).uppercased())\(fault.dropFirst()).") }
        return plan
    }

    private func route(peer: String) throws -> MigrationPlan.Route {
        switch (stream, incoming) {
        case (nil, nil):
            return .template(service: migrateService)
        case (let stream?, let incoming?):
            guard ServiceReference(stream)?.peer == peer else {
                throw ValidationError("--stream '\(stream)' is not \(peer)/SERVICE, a service of the destination's peer.")
            }
            return .fixed(to: stream, incoming: incoming)
        default:
            throw ValidationError("--stream and --incoming go together: the service, and where the QEMU behind it waits.")
        }
    }

    private func leg() throws -> MigrationPlan.Leg {
        guard exec else { return .forward(listen: try listen.map { try endpoint($0, "--listen") }) }
        guard listen == nil else { throw ValidationError("--exec needs no socket, so it does not go with --listen.") }
        // QEMU gives the command to a shell.
        let words = [ownPath, "connect", "--admin", admin.admin].map { "'\($0.replacing("'", with: "'\\''"))'" }
        return .exec(command: words.joined(separator: " "))
    }

    private func endpoint(_ text: String, _ option: String) throws -> Endpoint {
        do throws(EndpointError) {
            return try Endpoint(text)
        } catch {
            throw ValidationError("\(option) \(error.description).")
        }
    }
}
