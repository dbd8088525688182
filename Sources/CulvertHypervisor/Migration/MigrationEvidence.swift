/// Everything known about why a migration failed, and the judgement which of it is the cause.
///
/// One fault shows in many places: when the destination QEMU dies, the source QEMU reports a broken pipe, the relays a
/// reset, the far QMP a closed connection. The one nearest to the fault is what a person needs.
struct MigrationEvidence: Equatable {
    var peer: String
    var fault: MigrationFault
    /// The reset of the migration stream, and of the stream that carried the destination's QMP.
    var streamReset: TunnelOutcome.Reset?
    var controlReset: TunnelOutcome.Reset?
    /// The local relay does not answer any more.
    var relaySilence: TunnelError?
    var sourceClosed: QMPError?
    var destinationClosed: QMPError?
    /// `error-desc` of the two.
    var sourceText: String?
    var destinationText: String?

    /// The cause as one clause, and what else was seen.
    var verdict: (cause: String, details: [String]) {
        switch fault {
        case .stopped(let clause), .impossible(let clause), .leftInPostcopy(let clause): return (clause, [])
        case .notStarted(let clause): return (clause, [text(of: controlReset), relaySilence?.description].compactMap(\.self))
        case .tunnel(let error): return (error.description, [])
        case .source(let error) where error.kind != .closed: return (Self.clause(error, from: "source"), [])
        case .destination(let error) where error.kind != .closed:
            let own = Self.clause(error, from: "destination")
            guard !error.isRefusal, let deeper = text(of: controlReset) else { return (own, []) }
            return (deeper, [own])
        case .source, .destination, .stream, .split: break
        }
        // Everything else follows from it.
        if let sourceClosed { return (sourceClosed.description, []) }
        // A QMP connection that the relays cut says nothing about the QEMU behind it.
        let destinationGone = controlReset == nil && relaySilence == nil ? destinationClosed : nil
        var seen = [
            text(of: streamReset),
            destinationClosed == nil ? nil : text(of: controlReset),
            relaySilence.map { "the local relay does not answer any more: \($0)" },
            destinationGone?.description,
            destinationGone.map { _ in "if it has ended, its own output says why" },
            destinationText.map { "the destination QEMU says: \($0)" },
            sourceText.map { "the source QEMU says: \($0)" },
        ].compactMap(\.self)
        guard !seen.isEmpty else { return ("QEMU gives no reason", []) }
        let cause = seen.removeFirst()
        return (cause, seen.reduce(into: []) { if $1 != cause, !$0.contains($1) { $0.append($1) } })
    }

    private func text(of reset: TunnelOutcome.Reset?) -> String? { reset?.text(seenFrom: peer) }

    private static func clause(_ error: QMPError, from side: String) -> String {
        error.isRefusal ? "the \(side) QEMU refuses: \(error.description)" : error.description
    }
}
