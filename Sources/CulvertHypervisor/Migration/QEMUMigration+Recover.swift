import Foundation

/// From a migration that failed to a guest that goes on.
extension QEMUMigration {
    typealias Outcome = (guest: MigrationError.Guest, text: String)

    /// For QEMU to give a migration up, and then to run the guest again.
    private static let restoreLimit = Duration.seconds(30)
    /// For QEMU to run the guest again by itself once it has called a migration failed.
    private static let resumeLimit = Duration.seconds(2)

    func recover(from fault: MigrationFault) async -> MigrationError {
        // First, because giving up makes resets of its own, in which the cause would be lost.
        let verdict = await evidence(of: fault).verdict
        let outcome: Outcome
        if launched == nil {
            outcome = (.untouched, "nothing was begun and the guest is as it was")
        } else {
            enter(.recovering)
            outcome = await restore()
        }
        return MigrationError(
            cause: verdict.cause, guest: outcome.guest, outcome: outcome.text, details: verdict.details)
    }

    private func restore() async -> Outcome {
        do throws(MigrationFault) {
            if ends.source.client.closed != nil { try await reconnectSource() }
            let end = try await giveUp()
            switch end {
            case .postcopy, .postcopyPaused:
                return split(stillMoving: end == .postcopy)
            case .failed, .cancelled, .idle:
                guard sightings.withLock({ $0.postcopy }) else { return try await resumeAtSource() }
                return try await endedInPostcopy()
            case .completed:
                guard destinationReleased else { return try await resumeAtSource() }
                return (
                    .unknown,
                    "the source has handed the guest over, so it is at the destination if anywhere; look there with "
                        + "'query-status', and only if that QEMU is gone for good give the source 'cont'"
                )
            case .starting, .active, .switchover, .cancelling:
                return (.unknown, "the source QEMU does not give the migration up; watch 'query-migrate' there")
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
            let state = try await ends.source.migrationInfo().status ?? .idle
            switch state {
            case .idle, .failed, .cancelled, .completed, .postcopy, .postcopyPaused:
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
            if state == "running" {
                destinationReleased = false
                return (.source, "the guest runs on at the source")
            }
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

    /// The migration is over although the guest had moved. Its state at the source is an old one, so nobody may start it
    /// there, unless QEMU found that it had not moved after all and did so itself.
    private func endedInPostcopy() async throws(MigrationFault) -> Outcome {
        let deadline = ContinuousClock.now + Self.resumeLimit
        repeat {
            if try await ends.source.runState() == "running" { return try await resumeAtSource() }
            await wake.wait(upTo: .milliseconds(50))
        } while ContinuousClock.now < deadline
        return (
            .stopped,
            "the guest had moved in post-copy when the source gave up what the destination still lacks, so it is lost; what "
                + "the source has of it is its state before it moved"
        )
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
}
