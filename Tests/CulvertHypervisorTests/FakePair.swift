import CulvertHypervisor
import CulvertTestSupport
import Synchronization

/// Two QEMUs as far as QMP shows them, whose migration goes as a test wants it.
final class FakePair: Sendable {
    struct State {
        var source = "running"
        var migration = "none"
        var destination = "inmigrate"
        /// What `migrate` leads to at once.
        var outcome = (migration: "completed", source: "postmigrate", destination: "paused")
        /// How often the source says that it still finishes after it has called the migration completed.
        var lingers = 0
        /// Whether the destination does what `cont` says after it has arrived, and what it answers.
        var cont: (works: Bool, answer: FakeQMP.Answer) = (true, .returns("{}"))
        /// How the destination meets every question after the guest has arrived; nil: it answers.
        var afterArrival: FakeQMP.Answer?
    }

    private final class Shared: Sendable {
        let state: Mutex<State>
        init(_ state: State) { self.state = Mutex(state) }
    }

    private let shared: Shared
    private let directory: TemporaryDirectory
    let source: FakeQMP
    let destination: FakeQMP
    let tunnel: DirectTunnel

    init(_ change: (inout State) -> Void = { _ in }) throws {
        var state = State()
        change(&state)
        let shared = Shared(state)
        self.shared = shared
        directory = try TemporaryDirectory()
        source = try FakeQMP(in: directory, name: "source.qmp") { command in
            shared.state.withLock { Self.answerOfSource(command.name, &$0) }
        }
        destination = try FakeQMP(in: directory, name: "destination.qmp") { command in
            shared.state.withLock { Self.answerOfDestination(command.name, &$0) }
        }
        tunnel = DirectTunnel(directory: directory, services: ["qmp": destination.path])
    }

    var state: State { shared.state.withLock { $0 } }

    /// As somebody else's `migrate_cancel` in post-copy leaves QEMU 7.2.
    func cancelAtSource() {
        shared.state.withLock { state in
            state.migration = "cancelled"
            state.source = "postmigrate"
        }
    }

    func migration(
        _ change: (inout MigrationPlan) -> Void = { _ in }, report: @escaping @Sendable (MigrationEvent) -> Void = { _ in }
    ) -> QEMUMigration {
        var plan = MigrationPlan(source: source.path, peer: DirectTunnel.peer, destinationService: "qmp")
        change(&plan)
        return QEMUMigration(plan: plan, tunnel: tunnel, report: report)
    }

    private static func answerOfSource(_ command: String, _ state: inout State) -> FakeQMP.Answer {
        switch command {
        case "query-status" where state.lingers > 0 && state.migration == "completed":
            state.lingers -= 1
            return .returns(#"{"status": "finish-migrate", "running": false}"#)
        case "query-status":
            return .returns(#"{"status": "\#(state.source)", "running": \#(state.source == "running")}"#)
        case "query-migrate":
            return .returns(#"{"status": "\#(state.migration)"}"#)
        case "migrate":
            state.migration = state.outcome.migration
            state.source = state.outcome.source
            state.destination = state.outcome.destination
        case "migrate_cancel":
            state.migration = "cancelled"
        case "cont":
            state.source = "running"
        default:
            return common(command)
        }
        return .returns("{}")
    }

    private static func answerOfDestination(_ command: String, _ state: inout State) -> FakeQMP.Answer {
        if state.destination != "inmigrate", command != "cont", let answer = state.afterArrival { return answer }
        switch command {
        case "query-status":
            return .returns(#"{"status": "\#(state.destination)", "running": \#(state.destination == "running")}"#)
        case "query-migrate":
            return .returns("{}")
        case "cont" where state.destination == "paused":
            if state.cont.works { state.destination = "running" }
            return state.cont.answer
        case "stop" where state.destination == "running":
            state.destination = "paused"
        default:
            return common(command)
        }
        return .returns("{}")
    }

    private static func common(_ command: String) -> FakeQMP.Answer {
        switch command {
        case "query-migrate-capabilities": .returns(#"[{"capability": "events", "state": false}]"#)
        case "query-cpus-fast", "query-memory-size-summary", "qom-get": .error(class: "CommandNotFound", desc: "too old")
        default: .returns("{}")
        }
    }
}
