import Foundation

/// From a migration that failed to a guest that goes on, and to the reason.
extension QEMUMigration {
    typealias Outcome = (guest: MigrationError.Guest, text: String)

    /// For QEMU to give a migration up, and then to run the guest again.
    private static let restoreLimit = Duration.seconds(30)

    func recover(from fault: MigrationFault) async -> MigrationError {
        // First, because giving up makes resets of its own, in which the cause would be lost.
        let verdict = await evidence(of: fault).verdict
        let outcome: Outcome
        if launched == nil {
            outcome = (.untouched, "nothing was begun and the guest is as it was")
        } else {
            enter(.recovering)
            outcome = await restore(after: fault)
        }
        return MigrationError(
            cause: verdict.cause, guest: outcome.guest, outcome: outcome.text, details: verdict.details)
    }

    // MARK: The guest

    private func restore(after fault: MigrationFault) async -> Outcome {
        do throws(MigrationFault) {
            if ends.source.client.closed != nil { try await reconnectSource() }
            let end = try await giveUp()
            switch end {
            case .postcopy, .postcopyPaused:
                return split(stillMoving: end == .postcopy)
            case .completed where sightings.withLock({ $0.postcopy }) || destinationReleased:
                return (
                    .unknown,
                    "the source has handed the guest over, so it is at the destination if anywhere; look there with "
                        + "'query-status', and only if that QEMU is gone for good give the source 'cont'"
                )
            default:
                return try await resumeAtSource()
            }
        } catch {
            return lostSource()
        }
    }

    private func reconnectSource() async throws(MigrationFault) {
        do throws(QMPError) {
            let client = try await QMPClient.connect(to: plan.source, name: ends.source.client.name, within: .seconds(3))
            source = MigrationEnd(side: .source, client: client)
        } catch {
            throw .source(error)
        }
    }

    /// Ends the migration if that is still possible without losing the guest; returns the state it came to.
    private func giveUp() async throws(MigrationFault) -> MigrationState {
        let deadline = ContinuousClock.now + Self.restoreLimit
        // Cancelled in post-copy, QEMU 7.2 drops what the destination lacks. So wait until it is sure that it isn't there.
        let postcopyDeadline = ContinuousClock.now + .seconds(5)
        var cancelSent = false
        while true {
            let state = try await ends.source.migrationInfo().status ?? .none
            switch state {
            case .none, .failed, .cancelled, .completed, .postcopy, .postcopyPaused:
                return state
            case .active where postcopyRequested && ContinuousClock.now < postcopyDeadline:
                break
            case .starting, .active, .switchover:
                if !cancelSent { try await ends.source.tell("migrate_cancel") }
                cancelSent = true
            case .cancelling:
                break
            }
            if ContinuousClock.now > deadline { return state }
            await wake.wait(upTo: .milliseconds(50))
        }
    }

    /// QEMU resumes the guest by itself when a migration fails; where it does not, it is told to.
    private func resumeAtSource() async throws(MigrationFault) -> Outcome {
        await stopDestination()
        let began = ContinuousClock.now
        var state = ""
        var refusal = ""
        while ContinuousClock.now - began < Self.restoreLimit {
            state = try await ends.source.runState()
            if state == "running" { return (.source, "the guest runs on at the source") }
            if !wasRunning, ["paused", "postmigrate"].contains(state) {
                return (.source, "the guest is at the source, paused as before")
            }
            if !["paused", "postmigrate", "finish-migrate"].contains(state) { break }
            if wasRunning, ContinuousClock.now - began > .milliseconds(500) {
                do throws(MigrationFault) {
                    try await ends.source.tell("cont")
                    continue
                } catch {
                    guard case .source(let error) = error, error.isRefusal else { throw error }
                    refusal = " and refuses 'cont': \(error.description)"
                }
            }
            await wake.wait(upTo: .milliseconds(50))
        }
        return (.stopped, "the guest is at the source, whose QEMU is in state '\(state)'\(refusal); it needs a look")
    }

    /// The destination must not run a guest that goes on at the source.
    private func stopDestination() async {
        guard let destination, destination.client.closed == nil else { return }
        guard (try? await destination.runState(within: .seconds(3))) == "running" else { return }
        try? await destination.tell("stop", within: .seconds(3))
        report(.notice("the destination had started the guest and was stopped; end that QEMU"))
    }

    private func split(stillMoving: Bool) -> Outcome {
        if stillMoving {
            return (
                .split,
                "the guest runs at the destination and both QEMUs go on moving its memory by themselves; watch "
                    + "'query-migrate' at the source, and keep both QEMUs and relays up until it is 'completed'"
            )
        }
        let remark = destination?.client.closed == nil ? "" : " (unless the destination QEMU has ended: then it is lost)"
        let way: String
        switch plan.route {
        case .template(let service): way = "\(plan.peer)/\(service)/NAME"
        case .fixed(let to, _): way = to
        }
        return (
            .split,
            "the guest is split: it has moved in post-copy, but the source still has a part of its memory\(remark). Keep "
                + "both QEMUs; to go on, give the destination 'migrate-recover' with a new uri, then the source 'migrate' "
                + "with \"resume\": true and the uri of a forward to \(way)"
        )
    }

    private func lostSource() -> Outcome {
        sightings.withLock { $0.postcopy }
            ? (.split, "the source QEMU cannot be asked; without it the guest at the destination lacks a part of its memory")
            : (.unknown, "the source QEMU cannot be asked; if it has ended, the guest has ended with it")
    }

    // MARK: The reason

    /// Looks at everything that may tell the cause, and waits a moment for news that is on its way.
    private func evidence(of fault: MigrationFault) async -> MigrationEvidence {
        var evidence = MigrationEvidence(peer: plan.peer, fault: fault)
        switch fault {
        case .stream(let text), .split(let text): evidence.sourceText = text
        case .source(let error) where error.kind == .closed: evidence.sourceClosed = error
        case .destination(let error) where error.kind == .closed: evidence.destinationClosed = error
        default: break
        }
        guard fault.hasDeeperCause else { return evidence }
        let deadline = ContinuousClock.now + .seconds(1)
        while true {
            evidence.sourceClosed = evidence.sourceClosed ?? source?.client.closed
            evidence.destinationClosed = evidence.destinationClosed ?? destination?.client.closed
            var ended = false
            do throws(TunnelError) {
                if let controlForward { evidence.controlReset = try await tunnel.outcomes(of: controlForward).lastReset }
                if let streamForward {
                    let outcomes = try await tunnel.outcomes(of: streamForward)
                    evidence.streamReset = outcomes.lastReset
                    ended = !outcomes.isEmpty && (evidence.destinationClosed != nil || evidence.sourceClosed != nil)
                }
            } catch {
                evidence.relaySilence = error
            }
            if streamForward == nil, evidence.controlReset != nil { ended = true }
            if ended || evidence.streamReset != nil || evidence.relaySilence != nil { break }
            if ContinuousClock.now > deadline { break }
            await wake.wait(upTo: .milliseconds(50))
        }
        if evidence.destinationClosed == nil, launched != nil {
            evidence.destinationText = try? await destination?.migrationInfo().errorText
        }
        return evidence
    }
}

extension [TunnelOutcome] {
    var lastReset: TunnelOutcome.Reset? { last { $0.reset != nil }?.reset }
}
