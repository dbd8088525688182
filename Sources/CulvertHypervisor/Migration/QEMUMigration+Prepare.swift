import CulvertIO
import Foundation

/// From nothing to a stream that starts: every step can be stopped, and none of them touches the guest.
extension QEMUMigration {
    func connect() async throws(MigrationFault) {
        enter(.connecting)
        let client = try await client(at: plan.source, name: "the source QEMU (unix:\(plan.source))", side: .source)
        source = MigrationEnd(side: .source, client: client)
        let forward = try await open(to: "\(plan.peer)/\(plan.destinationService)")
        controlForward = forward
        try await connectDestination(through: forward)
        try await check()
        try await compare()
    }

    /// Connects to the destination's QMP, for the first time or anew.
    func connectDestination(through forward: TunnelForward) async throws(MigrationFault) {
        guard case .unix(let path) = forward.address else {
            throw .tunnel(TunnelError("the forward to the destination's QMP is at \(forward.address), not at a UNIX socket"))
        }
        let name = "the destination QEMU (\(plan.peer)/\(plan.destinationService))"
        destination = MigrationEnd(
            side: .destination, client: try await client(at: path, name: name, side: .destination))
    }

    private func client(at path: String, name: String, side: MigrationEnd.Side) async throws(MigrationFault) -> QMPClient {
        do throws(QMPError) {
            return try await QMPClient.connect(to: path, name: name) { [weak self] in self?.take($0, from: side) }
        } catch {
            throw side == .source ? .source(error) : .destination(error)
        }
    }

    func open(to service: String, listen: Endpoint? = nil) async throws(MigrationFault) -> TunnelForward {
        do throws(TunnelError) {
            return try await forwards.open(to: service, listen: listen)
        } catch {
            throw .tunnel(error)
        }
    }

    /// Both QEMUs must be in a state from which a migration can start.
    private func check() async throws(MigrationFault) {
        let (source, destination) = ends
        if try await source.migrationInfo().status?.isUnderway == true {
            throw .impossible("the source QEMU is migrating its guest already")
        }
        switch try await source.runState() {
        case "running": wasRunning = true
        case "paused": wasRunning = false
        case "postmigrate": throw .impossible("the guest has left the source QEMU already; it is in state 'postmigrate'")
        case let state: throw .impossible("the source QEMU is in state '\(state)'; it must be 'running' or 'paused'")
        }
        let state = try await destination.runState()
        guard state == "inmigrate" else {
            throw .impossible(
                "the destination QEMU is in state '\(state)' and expects no guest; start it with -incoming defer")
        }
        if try await destination.migrationInfo().status?.isUnderway == true {
            throw .impossible("the destination QEMU is receiving a guest already; start it anew with -incoming defer")
        }
    }

    /// Differences that the destination would only notice half-way, and then only tell its own log.
    private func compare() async throws(MigrationFault) {
        try await compare("machine type") { end throws(MigrationFault) in try await end.machineType() }
        try await compare("number of processors") { end throws(MigrationFault) in String(try await end.processorCount()) }
        try await compare("memory size") { end throws(MigrationFault) in
            "\(try await end.baseMemory() >> 20) MiB"
        }
    }

    private func compare(
        _ what: String, _ value: @Sendable (MigrationEnd) async throws(MigrationFault) -> String
    ) async throws(MigrationFault) {
        let (source, destination) = ends
        do throws(MigrationFault) {
            let here = try await value(source), there = try await value(destination)
            guard here == there else {
                throw .impossible("the two QEMUs differ in \(what): \(here) at the source, \(there) at the destination")
            }
        } catch {
            // Another version of QEMU may not know the question.
            guard error.isRefusal else { throw error }
        }
    }

    func prepare() async throws(MigrationFault) {
        enter(.preparing)
        let (source, destination) = ends
        let (service, incoming) = try await streamRoute()
        try await setCapabilities()
        let channels = plan.multifd.map { ["multifd-channels": $0] } ?? [:]
        try await source.tell("migrate-set-parameters", sourceParameters.merging(channels) { $1 })
        if !channels.isEmpty { try await destination.tell("migrate-set-parameters", channels) }
        // Before a migration, 'stop' says that the guest shall not start when it has arrived.
        try await destination.tell("stop")
        switch plan.leg {
        case .forward(let listen):
            let forward = try await open(to: service, listen: listen)
            streamForward = forward
            streamURI = forward.address.description
        case .exec(let command):
            streamURI = "exec:\(command) \(service)"
        }
        do throws(MigrationFault) {
            try await destination.tell("migrate-incoming", ["uri": incoming])
        } catch {
            guard case .destination(let refusal) = error, refusal.isRefusal else { throw error }
            throw .impossible(
                "the destination QEMU cannot listen at \(incoming): \(refusal.description); it must have been started "
                    + "with -incoming defer and may need that socket's directory made")
        }
    }

    func launch() async throws(MigrationFault) {
        guard let streamURI else { preconditionFailure("launched before it was prepared") }
        launched = .now
        try await ends.source.tell("migrate", ["uri": streamURI])
    }

    /// The service that the stream goes through, and the URI at which the destination QEMU waits for it.
    private func streamRoute() async throws(MigrationFault) -> (service: String, incoming: String) {
        switch plan.route {
        case .fixed(let to, let incoming):
            return (to, incoming)
        case .template(let template):
            do throws(TunnelError) {
                return ("\(plan.peer)/\(template)/\(name)", try await forwards.target(of: "\(template)/\(name)", at: plan.peer))
            } catch {
                throw .tunnel(error)
            }
        }
    }

    // MARK: Capabilities and parameters

    private struct Capability {
        enum End { case source, destination, both }
        var name: String
        var end = End.both
        var on = true
        /// The migration is not what was asked for without it.
        var required = false
    }

    private var capabilities: [Capability] {
        [
            Capability(name: "events"),
            // So the source knows whether the destination has loaded the guest before it lets go of it.
            Capability(name: "return-path"),
            Capability(name: "multifd", on: plan.multifd != nil, required: true),
            Capability(name: "postcopy-ram", on: plan.postcopy != nil, required: true),
            Capability(name: "postcopy-preempt", on: plan.postcopy?.preempt == true, required: true),
            Capability(name: "auto-converge", end: .source, on: plan.autoConverge, required: true),
            Capability(name: "pause-before-switchover", end: .source, on: false),
            // So the source can take its disks back if the guest cannot be started at the destination.
            Capability(name: "late-block-activate", end: .destination),
        ]
    }

    private func setCapabilities() async throws(MigrationFault) {
        let (source, destination) = ends
        for (end, other) in [(source, Capability.End.destination), (destination, .source)] {
            let known = try await end.capabilities()
            var settings: [String: Bool] = [:]
            for capability in capabilities where capability.end != other {
                if known.contains(capability.name) {
                    settings[capability.name] = capability.on
                } else if capability.on, capability.required {
                    throw .impossible(
                        "the \(end.side) QEMU is version \(end.client.version), which has no '\(capability.name)'")
                }
            }
            try await end.set(capabilities: settings)
        }
    }

    private var sourceParameters: [String: Int] {
        var parameters = ["downtime-limit": Int((plan.downtime.inSeconds * 1000).rounded()), "max-bandwidth": plan.bandwidth]
        if plan.postcopy != nil {
            // Here 0 is QEMU's word for no limit.
            parameters["max-postcopy-bandwidth"] = plan.bandwidth == MigrationPlan.unlimitedBandwidth ? 0 : plan.bandwidth
        }
        return parameters
    }
}
