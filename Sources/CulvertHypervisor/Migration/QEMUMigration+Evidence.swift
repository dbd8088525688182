/// From a migration that failed to the reason.
extension QEMUMigration {
    /// Looks at everything that may tell the cause, and waits a moment for news that is on its way.
    func evidence(of fault: MigrationFault) async -> MigrationEvidence {
        var evidence = MigrationEvidence(peer: plan.peer, fault: fault)
        switch fault {
        case .stream(let text), .split(let text): evidence.sourceText = text
        case .source(let error) where error.kind == .closed: evidence.sourceClosed = error
        case .destination(let error) where error.kind == .closed: evidence.destinationClosed = error
        default: break
        }
        guard fault.hasDeeperCause else { return evidence }
        // A guest that has arrived and cannot be started stands still as long as this takes.
        var patience = Duration.seconds(1)
        if case .notStarted = fault { patience = .zero }
        let deadline = ContinuousClock.now + patience
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
            if ContinuousClock.now >= deadline { break }
            await wake.wait(upTo: .milliseconds(50))
        }
        if evidence.destinationClosed == nil, launched != nil {
            evidence.destinationText = try? await destination?.migrationInfo(within: .seconds(2)).errorText
        }
        return evidence
    }
}

extension [TunnelOutcome] {
    var lastReset: TunnelOutcome.Reset? { last { $0.reset != nil }?.reset }
}
