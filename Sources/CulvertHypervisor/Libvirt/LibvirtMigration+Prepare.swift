import CulvertIO
import Foundation

/// From nothing to ways that are open: every step can be stopped, and none of them touches the guest.
extension LibvirtMigration {
    func connect() async throws(LibvirtFault) {
        enter(.connecting)
        try await findGuest()
        let forward = try await open(to: plan.service)
        controlForward = forward
        guard case .unix = forward.address else {
            throw .tunnel(TunnelError("the forward to the destination's libvirt is at \(forward.address), not at a UNIX socket"))
        }
        // Asks for nothing that matters, only whether there is a daemon that answers.
        do throws(VirshError) {
            _ = try await destination.ask(["hostname"])
        } catch {
            throw .destination(error)
        }
        let ended = await forwards.outcomes(of: forward).count
        endedBefore = ended > 0 ? ended : nil
    }

    private func findGuest() async throws(LibvirtFault) {
        do throws(VirshError) {
            sourceURI = try await virsh.ask(["uri"])
            uuid = try await virsh.ask(["domuuid", "--domain", plan.domain])
            before = DomainState(try await virsh.ask(["domstate", "--reason", "--domain", uuid]))
        } catch {
            throw .source(error)
        }
        guard let before else { return }
        if plan.postcopy == .resume {
            guard before.isPostcopy else {
                throw .impossible(
                    "there is no broken post-copy migration of '\(plan.domain)' to resume; libvirt calls it \(before.text)")
            }
        } else if before.hasBrokenPostcopy {
            throw .impossible("a post-copy migration of '\(plan.domain)' broke on the way; go on with --postcopy-resume")
        } else if before.isPostcopy {
            throw .impossible("'\(plan.domain)' is in the middle of a post-copy migration")
        } else if !before.isActive, !plan.offline {
            throw .impossible("'\(plan.domain)' is not running; --offline would copy its definition")
        }
    }

    func prepare() async throws(LibvirtFault) {
        guard plan.hasStream else { return }
        enter(.preparing)
        let stream = try await way(through: plan.migrateService, suffix: "")
        (streamService, streamForward) = (stream.service, try await open(stream))
        guard plan.storage != nil else { return }
        let disks = try await way(through: plan.disksService ?? plan.migrateService, suffix: "-disks")
        guard disks.address != stream.address else {
            throw .impossible(
                "memory and disks cannot both go to \(disks.address), where \(plan.peer)'s '\(disks.service)' leads; name another "
                    + "service with --disks-service, or one with {name} in its path")
        }
        (disksService, disksForward) = (disks.service, try await open(disks))
    }

    /// A way for memory or disks.
    private struct Way {
        /// What to ask the peer for.
        var service: String
        /// Where its QEMU has to listen. The relay here must listen at the same place, because libvirt gives one address to
        /// both hosts.
        var address: Endpoint
        /// No other migration uses it.
        var isOwn: Bool
    }

    private func way(through service: String, suffix: String) async throws(LibvirtFault) -> Way {
        do throws(TunnelError) {
            let named = "\(service)/\(name)\(suffix)"
            return Way(service: named, address: try await target(of: named), isOwn: true)
        } catch {
            // That is what a relay calls a name where it takes none.
            guard error.reset?.code == "bad-name" else { throw .tunnel(error) }
        }
        do throws(TunnelError) {
            return Way(service: service, address: try await target(of: service), isOwn: false)
        } catch {
            throw .tunnel(error)
        }
    }

    private func open(_ way: Way) async throws(LibvirtFault) -> TunnelForward {
        if way.isOwn { return try await open(to: way.service, listen: way.address) }
        do throws(TunnelError) {
            let existing = try await tunnel.existing(to: "\(plan.peer)/\(way.service)", listen: way.address)
            return if let existing { existing } else {
                try await forwards.open(to: "\(plan.peer)/\(way.service)", listen: way.address)
            }
        } catch {
            throw .impossible("\(error); only one migration at a time can use \(plan.peer)'s service '\(way.service)'")
        }
    }

    private func target(of service: String) async throws(TunnelError) -> Endpoint {
        let target = try await forwards.target(of: service, at: plan.peer)
        do throws(EndpointError) {
            return try Endpoint(target)
        } catch {
            throw TunnelError("\(plan.peer)'s service '\(service)' leads to \(error)")
        }
    }

    private func open(to service: String, listen: Endpoint? = nil) async throws(LibvirtFault) -> TunnelForward {
        do throws(TunnelError) {
            return try await forwards.open(to: "\(plan.peer)/\(service)", listen: listen)
        } catch {
            throw .tunnel(error)
        }
    }
}

extension DomainState {
    /// As virsh prints it.
    var text: String { reason.isEmpty ? state : "\(state) (\(reason))" }
}
