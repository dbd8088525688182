import Foundation

/// From a migration that failed to the reason, and to where the guest is.
extension LibvirtMigration {
    typealias Outcome = (guest: MigrationError.Guest, text: String)

    /// For libvirt to put the guest back.
    private static let restoreLimit = Duration.seconds(30)
    /// Times that asking may fail before anything was asked.
    private static let mostFailures = 30

    func recover(from fault: LibvirtFault) async -> MigrationError {
        // First, because giving up makes resets of its own, in which the cause would be lost.
        let (cause, details) = await verdict(on: fault)
        let outcome: Outcome
        if launched == nil {
            outcome = (.untouched, "nothing was begun and the guest is as it was")
        } else {
            if case .leftInPostcopy = fault {} else { enter(.recovering) }
            outcome = await whereabouts()
            if outcome.guest == .source { await sweep() }
        }
        return MigrationError(cause: cause, guest: outcome.guest, outcome: outcome.text, details: details)
    }

    // MARK: Why

    private func verdict(on fault: LibvirtFault) async -> (cause: String, details: [String]) {
        switch fault {
        case .stopped(let clause), .impossible(let clause), .leftInPostcopy(let clause): return (clause, [])
        case .tunnel(let error): return (error.description, [])
        case .source(let error): return (Self.clause(error), [])
        case .destination(let error):
            return combine(error.description, await streamEnds(of: [controlForward]))
        case .migration(let error):
            return combine(error.description, await streamEnds(of: [streamForward, disksForward, controlForward]))
        }
    }

    private enum StreamEnds {
        case seen([TunnelOutcome.Reset])
        case relaySilent(TunnelError)
    }

    private func streamEnds(of forwards: [TunnelForward?]) async -> StreamEnds {
        var resets: [TunnelOutcome.Reset] = []
        // The relay may know of it a moment after virsh.
        for _ in 0..<10 {
            do throws(TunnelError) {
                for case let forward? in forwards {
                    if let reset = try await tunnel.outcomes(of: forward).lastReset { resets.append(reset) }
                }
            } catch {
                return .relaySilent(error)
            }
            if !resets.isEmpty { break }
            try? await Task.sleep(for: .milliseconds(50))
        }
        return .seen(resets)
    }

    /// libvirt's own words are the cause, unless its connections failed on the way, of which it cannot know the reason.
    private func combine(_ own: String, _ ends: StreamEnds) -> (cause: String, details: [String]) {
        switch ends {
        case .relaySilent(let error):
            return ("the local relay does not answer any more: \(error)", ["libvirt says: \(own)"])
        case .seen(let resets):
            let texts = resets.map { $0.text(seenFrom: plan.peer) }
            if let first = resets.firstIndex(where: \.isOfTheWay) {
                return (texts[first], ["libvirt says: \(own)"])
            }
            return (own, texts.first.map { [$0] } ?? [])
        }
    }

    private static func clause(_ error: VirshError) -> String {
        if error.kind == .notStarted { return "\(error); install libvirt's client programs" }
        if error.isConnectFailure {
            return "no libvirt daemon answers here: \(error.lines.dropFirst().joined(separator: ": ")); is it running? name it "
                + "with --connect"
        }
        if error.isUnknownDomain { return "libvirt: \(error); `virsh list --all` shows what there is" }
        return "libvirt: \(error)"
    }

    // MARK: Where

    private func whereabouts() async -> Outcome {
        let deadline = ContinuousClock.now + Self.restoreLimit
        var failures = 0
        while true {
            let text: String
            do throws(VirshError) {
                text = try await virsh.askAll(["domstate --reason \(uuid)", "domjobinfo --rawstats \(uuid)"])
            } catch {
                failures += 1
                // A host may lack a process or a descriptor for a moment; where the guest is matters more than that.
                if error.kind == .notStarted, failures < Self.mostFailures {
                    await wake.wait(upTo: .milliseconds(100))
                    continue
                }
                return (
                    .unknown,
                    "the source's libvirt does not answer (\(error)); look there with 'virsh domstate \(plan.domain)'"
                )
            }
            let settled = !JobStatistics(text).isUnderway
            let state = DomainState(text)
            if let outcome = await judge(state, settled: settled) { return outcome }
            guard ContinuousClock.now < deadline else {
                return (
                    .unknown,
                    "libvirt has not given the migration up; the source calls the guest \(state?.text ?? "unknown"), watch "
                        + "'virsh domjobinfo \(plan.domain)' there"
                )
            }
            await wake.wait(upTo: .milliseconds(100))
        }
    }

    /// Nil while that is going to change.
    private func judge(_ state: DomainState?, settled: Bool) async -> Outcome? {
        if let state, state.isPostcopy {
            if state.hasBrokenPostcopy { return split }
            if !settled, plan.flow != .direct {
                return (
                    .split,
                    "the guest runs at the destination and libvirt goes on moving its memory by itself; keep both relays up "
                        + "and watch 'virsh domjobinfo \(plan.domain)' at the source"
                )
            }
            return settled ? split : nil
        }
        if let state, state.state == "running" {
            return settled ? (.source, "the guest runs on at the source") : nil
        }
        guard settled else { return nil }
        if let state, state.isActive {
            if state.isMigrating { return nil }
            if state == before { return (.source, "the guest is at the source, \(state.text) as before") }
            return (.stopped, "the guest is at the source, which calls it \(state.text); it needs a look")
        }
        if plan.offline { return (.source, "the guest is at the source, as it was") }
        return await elsewhere(state)
    }

    /// The guest is not active at the source.
    private func elsewhere(_ state: DomainState?) async -> Outcome {
        let text = try? await destination.askAll(["domstate --reason \(uuid)"])
        if let there = text.flatMap(DomainState.init), there.isActive {
            return (.destination, "the guest is at the destination, which calls it \(there.text)")
        }
        let here = state.map { "calls the guest \($0.text)" } ?? "does not know the guest any more"
        return (.unknown, "the source \(here) and the destination shows nothing of it; look at both with 'virsh list --all'")
    }

    /// The destination's QEMU may have been ended before anything came to the sockets that it listened at, and leaves their
    /// files. A relay removes such a file after a stream to it has ended, so it gets one.
    private func sweep() async {
        for case let (forward?, service?) in [(streamForward, streamService), (disksForward, disksService)] {
            guard service.contains("/"), let outcomes = try? await tunnel.outcomes(of: forward), outcomes.isEmpty else { continue }
            await forwards.touch(forward)
        }
    }

    private var split: Outcome {
        (
            .split,
            "the guest is split: it has moved in post-copy, but the source still has a part of its memory. Keep both guests; to "
                + "go on, repeat the command with --postcopy-resume"
        )
    }
}

extension TunnelOutcome.Reset {
    /// The stream failed between the two hosts or before it was through, and not by what is at its ends.
    var isOfTheWay: Bool {
        ["connect-failed", "unknown-service", "not-allowed", "bad-name", "refused", "session-lost", "shutdown"].contains(code)
    }
}
