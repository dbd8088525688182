import Foundation

/// From a source that is done to a guest that runs at the destination.
extension QEMUMigration {
    /// For the destination to start the guest, which stands still meanwhile; then it goes back to the source.
    private static let startLimit = Duration.seconds(10)
    /// For the source to settle after what it calls the end.
    private static let settleLimit = Duration.seconds(10)
    /// To hear of a guest that has been started there; nothing is gained by giving up early.
    private static let confirmLimit = Duration.seconds(30)

    func finish() async throws(MigrationFault) -> MigrationSummary {
        enter(.verifying)
        let destinationState = try await startAtDestination()
        guard let launched else { preconditionFailure("finished before it was launched") }
        let total = launched.duration(to: .now).inSeconds
        let sourceState = await lastStateOfSource()
        var sourceQuit = false
        if plan.quitSource {
            do throws(MigrationFault) {
                try await ends.source.tell("quit")
                sourceQuit = true
            } catch {
                report(.notice("the source QEMU did not take 'quit'; end it by hand"))
            }
        }
        let bytes = lastInfo.ram?.transferred ?? 0
        let seen = sightings.withLock { $0 }
        return MigrationSummary(
            totalTime: total,
            pause: seen.stopped.flatMap { stopped in seen.resumed.map { stopped.duration(to: $0).inSeconds } },
            downtime: lastInfo.downtime.map { Double($0) / 1000 },
            bytes: bytes,
            averageRate: Double(bytes) / max(total, 0.001),
            passes: max(lastInfo.ram?.dirtySyncCount ?? 1, 1),
            postcopy: seen.postcopy,
            sourceState: sourceState,
            destinationState: destinationState,
            sourceQuit: sourceQuit)
    }

    /// QEMU calls the migration completed a moment before it leaves the state of finishing it. A source that has gone
    /// meanwhile changes nothing: the guest has moved.
    private func lastStateOfSource() async -> String {
        let began = ContinuousClock.now
        while let state = try? await ends.source.runState() {
            guard state == "finish-migrate", began.duration(to: .now) < Self.settleLimit else { return state }
            await wake.wait(upTo: .milliseconds(20))
        }
        return "gone"
    }

    /// Has the destination run the guest, or leave it paused if it was paused; returns its run state.
    private func startAtDestination() async throws(MigrationFault) -> String {
        let began = ContinuousClock.now
        var trouble = ""
        while true {
            do throws(MigrationFault) {
                let state = try await ends.destination.runState(within: .seconds(5))
                switch state {
                case "running":
                    return state
                case "paused" where !wasRunning:
                    return state
                case "paused":
                    destinationReleased = true
                    try await ends.destination.tell("cont", within: .seconds(5))
                    continue
                case "inmigrate":
                    trouble = "the destination QEMU is still in state 'inmigrate'"
                default:
                    throw .notStarted("the guest has arrived at the destination but is in state '\(state)'")
                }
            } catch {
                guard case .destination(let error) = error else { throw error }
                if error.isRefusal {
                    destinationReleased = false
                    throw .notStarted("the destination QEMU cannot start the guest: \(error.description)")
                }
                trouble = await reconnectDestination() ?? error.description
            }
            if !destinationReleased, let reason = control.stop { throw .stopped(reason) }
            guard began.duration(to: .now) < (destinationReleased ? Self.confirmLimit : Self.startLimit) else {
                throw .notStarted("the destination could not be made to start the guest: \(trouble)")
            }
            await wake.wait(upTo: .milliseconds(20))
        }
    }

    /// Tries once, because the loop above tries again; returns what went wrong.
    private func reconnectDestination() async -> String? {
        guard let controlForward else { return nil }
        destination?.client.close()
        do throws(MigrationFault) {
            try await connectDestination(through: controlForward)
            return nil
        } catch {
            await wake.wait(upTo: .milliseconds(300))
            guard case .destination(let error) = error else { return nil }
            return error.description
        }
    }
}
