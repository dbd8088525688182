/// One migration by libvirt, whose daemons and QEMUs reach each other through a tunnel.
///
/// virsh does the migration. This opens the ways for it, shows libvirt's own figures, aborts the job when somebody wants
/// that, and finds out afterwards where the guest is and why.
public actor LibvirtMigration {
    nonisolated let plan: LibvirtPlan
    nonisolated let tunnel: any Tunnel
    nonisolated let report: @Sendable (MigrationEvent) -> Void
    nonisolated let control = MigrationControl()
    nonisolated let wake = WakeUp()
    nonisolated let forwards: ForwardKeeper
    /// The source's daemon.
    nonisolated let virsh: Virsh

    var name: String
    /// The same on both hosts, whatever the guest is called there.
    var uuid = ""
    /// Of the source's daemon, as libvirt gives it.
    var sourceURI = ""
    /// When it was found.
    var before: DomainState?
    var controlForward: TunnelForward?
    /// How many connections through it have ended before virsh makes its own; nil if that is not known.
    var endedBefore: Int?
    var streamForward: TunnelForward?
    var disksForward: TunnelForward?
    /// What the relay was asked for, without the peer.
    var streamService: String?
    var disksService: String?
    /// When virsh was told to migrate.
    var launched: ContinuousClock.Instant?
    var lastStage: MigrationStage?
    var lastStatistics = JobStatistics("")
    var postcopySeen = false

    /// `report` is called from the migration's task, in order, and must not block for long.
    public init(plan: LibvirtPlan, tunnel: any Tunnel, report: @escaping @Sendable (MigrationEvent) -> Void) {
        self.plan = plan
        self.tunnel = tunnel
        self.report = report
        forwards = ForwardKeeper(tunnel: tunnel)
        virsh = Virsh(program: plan.virsh, uri: plan.connect)
        name = plan.name ?? MigrationName.fresh()
    }

    /// Asks libvirt to abort the migration and leave the guest at the source; `reason` is a clause such as
    /// `it was interrupted`. In post-copy it cannot, says so and goes on. Asked again, it waits for libvirt no longer.
    public nonisolated func cancel(_ reason: String) { control.cancel(reason) }

    /// Migrates. To be called once. Whether it succeeds or fails, what it opened is closed when it returns.
    public func run() async throws(MigrationError) -> MigrationSummary {
        let timer = control.expire(after: plan.timeout)
        defer { timer?.cancel() }
        let result: Result<MigrationSummary, MigrationError>
        do throws(LibvirtFault) {
            try await open()
            control.onStop { [wake] in wake.notify() }
            try await follow(try await launch())
            result = .success(await finish())
        } catch {
            result = .failure(await recover(from: error))
        }
        await forwards.closeAll()
        switch result {
        case .success(let summary): report(.summary(summary))
        case .failure(let error): report(.failure(error))
        }
        return try result.get()
    }

    /// Does everything but migrate, and returns the commands that would open the same ways and migrate.
    public func rehearse() async throws(MigrationError) -> [String] {
        let result: Result<[String], MigrationError>
        do throws(LibvirtFault) {
            try await open()
            result = .success(commands)
        } catch {
            result = .failure(await recover(from: error))
        }
        await forwards.closeAll()
        return try result.get()
    }

    private func open() async throws(LibvirtFault) {
        try await control.untilStopped(error: LibvirtFault.stopped) { () async throws(LibvirtFault) in
            try await self.connect()
            try await self.prepare()
        }
    }

    var route: LibvirtPlan.Route {
        guard let controlForward else { preconditionFailure("used before it was connected") }
        return LibvirtPlan.Route(
            control: controlForward.address, stream: streamForward?.address, disks: disksForward?.address)
    }

    /// The destination's daemon, behind the tunnel.
    var destination: Virsh { virsh.at(LibvirtPlan.uri(of: route.control, like: sourceURI)) }

    private var commands: [String] {
        var commands: [String] = []
        for case (let forward?, let service?) in [
            (controlForward, plan.service), (streamForward, streamService), (disksForward, disksService),
        ] {
            let way = [forward.address.description, "\(plan.peer)/\(service)"]
            commands.append(ShellText.line(["culvert", "forward", "add"] + way))
        }
        return commands + [ShellText.line(virsh.command(plan.migrateCommand(route, source: sourceURI)))]
    }

    func enter(_ stage: MigrationStage) {
        guard stage != lastStage else { return }
        lastStage = stage
        report(.stage(stage))
    }
}

/// What stopped a migration, as first noticed.
enum LibvirtFault: Error, Sendable, Equatable {
    /// Somebody or some limit wanted it to stop; a clause that says so.
    case stopped(String)
    /// It cannot be done as asked; a clause that says why and what to do.
    case impossible(String)
    case tunnel(TunnelError)
    /// The source's daemon, or virsh itself.
    case source(VirshError)
    /// The destination's daemon, before the migration.
    case destination(VirshError)
    /// `virsh migrate` failed.
    case migration(VirshError)
    /// A limit ran out in post-copy, from where there is no way back.
    case leftInPostcopy(String)
}
