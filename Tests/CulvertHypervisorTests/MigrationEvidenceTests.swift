import Testing

@testable import CulvertHypervisor

struct MigrationEvidenceTests {
    private let reset = TunnelOutcome.Reset(
        code: "connect-failed", errno: "ECONNREFUSED", text: "cannot connect to unix:/run/x.sock", remote: true)
    private let closed = QMPError(.closed, "the destination QEMU closed its QMP connection")

    private func evidence(_ fault: MigrationFault) -> MigrationEvidence { MigrationEvidence(peer: "hostb", fault: fault) }

    @Test func blamesTheResetBeforeItsSymptoms() {
        var evidence = evidence(.stream("Unable to write to socket: Broken pipe"))
        evidence.streamReset = reset
        evidence.sourceText = "Unable to write to socket: Broken pipe"
        #expect(evidence.verdict.cause == "hostb's relay reset the stream: cannot connect to unix:/run/x.sock [ECONNREFUSED]")
        #expect(evidence.verdict.details == ["the source QEMU says: Unable to write to socket: Broken pipe"])
    }

    @Test func blamesASourceThatHasGoneBeforeEverything() {
        var evidence = evidence(.source(QMPError(.closed, "the source QEMU closed its QMP connection")))
        evidence.sourceClosed = QMPError(.closed, "the source QEMU closed its QMP connection")
        evidence.streamReset = reset
        #expect(evidence.verdict.cause == "the source QEMU closed its QMP connection")
    }

    @Test func blamesTheLossOfTheSessionForAClosedMonitor() {
        var evidence = evidence(.destination(closed))
        evidence.destinationClosed = closed
        evidence.controlReset = .init(code: "session-lost", errno: nil, text: "hostb is silent", remote: false)
        #expect(evidence.verdict.cause == "the local relay reset the stream to hostb: hostb is silent")
        #expect(evidence.verdict.details.isEmpty)
    }

    @Test func tellsThatTheDestinationHasGoneToo() {
        var evidence = evidence(.destination(closed))
        evidence.destinationClosed = closed
        evidence.streamReset = reset
        #expect(evidence.verdict.details == [closed.description, "if it has ended, its own output says why"])
    }

    @Test func saysSomethingOnceOnly() {
        var evidence = evidence(.destination(closed))
        evidence.destinationClosed = closed
        evidence.streamReset = reset
        evidence.controlReset = reset
        #expect(evidence.verdict.details.isEmpty)
    }

    @Test func fallsBackToWhatQEMUSays() {
        var evidence = evidence(.stream("no route"))
        evidence.sourceText = "no route"
        #expect(evidence.verdict.cause == "the source QEMU says: no route")
        #expect(self.evidence(.stream(nil)).verdict.cause == "QEMU gives no reason")
    }

    @Test func namesWhoRefuses() {
        let refusal = QMPError(.refused(class: "GenericError"), "Migration is disabled")
        #expect(evidence(.source(refusal)).verdict.cause == "the source QEMU refuses: Migration is disabled")
    }

    @Test func leavesAWishToStopAlone() {
        var evidence = evidence(.stopped("interrupted"))
        evidence.streamReset = reset
        #expect(evidence.verdict.cause == "interrupted")
        #expect(evidence.verdict.details.isEmpty)
    }
}
