import ArgumentParser
import CulvertHypervisor
import CulvertRelay

struct MigrateLibvirtCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "libvirt",
        abstract: "Have libvirt move a guest to a peer's host.",
        discussion: """
            Opens the ways that libvirt needs through the relay, calls virsh migrate, and closes them. docs/LIBVIRT.md tells \
            which services the peer's relay has to offer.

            Ctrl-C, SIGTERM, a lost terminal or --timeout have libvirt abort the migration; the guest goes on at the source. \
            A second Ctrl-C ends virsh. In post-copy there is no way back: then the command goes on until the guest has all \
            of its memory, and a second Ctrl-C or the timeout leaves the rest to --postcopy-resume.
            """)

    @OptionGroup var admin: AdminOptions

    @Argument(help: "The guest's name, id or UUID.")
    var domain: String

    @Argument(help: "The relay next to the destination.")
    var peer: String

    @Argument(parsing: .postTerminator, help: ArgumentHelp("After --: options for virsh migrate as they are.", valueName: "virsh options"))
    var virshOptions: [String] = []

    @Option(help: ArgumentHelp("The libvirt daemon of this host; default: virsh's own.", valueName: "uri"))
    var connect: String?

    @Option(help: ArgumentHelp("The peer's service that leads to its libvirt daemon.", valueName: "service"))
    var service = "libvirt"

    @Option(help: ArgumentHelp("The peer's service for memory.", valueName: "service"))
    var migrateService = "migrate"

    @Option(help: ArgumentHelp("The peer's service for disks; default: that for memory.", valueName: "service"))
    var disksService: String?

    @Option(help: "Names the migration on both hosts; by default a random name.")
    var name: String?

    @Flag(help: "virsh speaks to both daemons; if this command dies, the guest stays. The default.")
    var direct = false

    @Flag(name: .customLong("p2p"), help: "The source's daemon speaks to the destination's; if this command dies, the migration goes on.")
    var peerToPeer = false

    @Flag(help: "Send memory inside the daemons' own connection, which is slow; implies --p2p.")
    var tunnelled = false

    @Flag(help: "Copy the guest's definition only, which stays at the destination.")
    var offline = false

    @Option(help: ArgumentHelp("Send memory through so many connections at once.", valueName: "connections"))
    var parallel: Int?

    @Flag(help: "Move the guest before its memory has all arrived.")
    var postcopy = false

    @Option(
        help: ArgumentHelp(
            "With --postcopy, after so many passes over the memory; default: 1; 0: at once.", valueName: "passes"))
    var postcopyAfter: Int?

    @Flag(help: "Go on with a migration that broke in post-copy.")
    var postcopyResume = false

    @Option(help: ArgumentHelp("Copy disks too: all of them, or inc, what a shared base image lacks.", valueName: "all|inc"))
    var copyStorage: LibvirtPlan.Storage?

    @Flag(help: "Keep the guest's definition at the destination.")
    var persistent = false

    @Flag(help: "Remove the guest's definition from the source.")
    var undefineSource = false

    @Option(
        help: ArgumentHelp("Most bytes a second, as in 100MiB/s; default: no limit.", valueName: "size/s"),
        transform: Quantity.rate)
    var bandwidth: Int?

    @Option(help: ArgumentHelp("Abort if it takes longer, as in 10m.", valueName: "time"), transform: Quantity.time)
    var timeout: Duration?

    @Option(
        help: ArgumentHelp(
            "Let the destination's daemon be silent for so long, as in 75s; default: virsh's own 25s. Not for --p2p.",
            valueName: "time"),
        transform: Quantity.time)
    var keepalive: Duration?

    @Option(help: "Who owns the sockets of the migration, if virsh is not run by root: a user.")
    var socketOwner: String?

    @Option(help: "The same for the group.")
    var socketGroup: String?

    @Flag(help: "Try everything but the migration, and print the commands that would do it.")
    var dryRun = false

    @OptionGroup var output: MigrationOutput

    func validate() throws { _ = try plan() }

    func run() async throws {
        let plan = try plan()
        let tunnel = RelayTunnel(admin: admin.client, owner: socketOwner, group: socketGroup)
        let display = output.display(destination: plan.peer)
        let migration = LibvirtMigration(plan: plan, tunnel: tunnel, report: { if !dryRun { display.show($0) } })
        let signals = CancellingSignals { migration.cancel($0) }
        defer { signals.stop() }
        if dryRun {
            for command in try await migration.rehearse() { print(command) }
        } else {
            _ = try await migration.run()
        }
    }

    // MARK: The plan

    func plan() throws -> LibvirtPlan {
        guard ServiceReference("\(peer)/\(service)") != nil else {
            throw ValidationError("'\(peer)' is not the name of a peer, or '\(service)' not that of a service.")
        }
        var plan = LibvirtPlan(domain: domain, peer: peer)
        plan.connect = connect
        plan.service = service
        plan.migrateService = migrateService
        plan.disksService = disksService
        plan.name = name
        plan.flow = try flow()
        plan.offline = offline
        plan.parallel = parallel
        plan.postcopy = try postcopyPlan()
        plan.storage = copyStorage
        plan.persistent = persistent
        plan.undefineSource = undefineSource
        plan.bandwidth = bandwidth
        plan.timeout = timeout
        plan.keepalive = keepalive
        plan.virshOptions = virshOptions
        if let fault = plan.fault { throw ValidationError("\(fault.prefix(1).uppercased())\(fault.dropFirst()).") }
        return plan
    }

    private func flow() throws -> LibvirtPlan.Flow {
        if direct, peerToPeer || tunnelled { throw ValidationError("--direct excludes --p2p and --tunnelled.") }
        return tunnelled ? .tunnelled : peerToPeer ? .peerToPeer : .direct
    }

    private func postcopyPlan() throws -> LibvirtPlan.Postcopy? {
        if postcopyAfter != nil, !postcopy { throw ValidationError("--postcopy-after goes with --postcopy.") }
        if postcopyResume {
            guard postcopyAfter == nil else { throw ValidationError("--postcopy-after goes with a new migration, not with --postcopy-resume.") }
            return .resume
        }
        // As virsh's own --postcopy-after-precopy: one pass sends most of the memory before the guest has to wait for any.
        return postcopy ? .start(afterPasses: postcopyAfter ?? 1) : nil
    }
}

extension LibvirtPlan.Storage: ExpressibleByArgument {}
