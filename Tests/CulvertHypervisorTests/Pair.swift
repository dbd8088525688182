import CulvertHypervisor
import CulvertTestSupport
import Synchronization
import Testing

/// Two QEMUs with a tunnel between, the source with a guest that has made some passes.
struct Pair {
    /// MiB of RAM, and what the guest works on.
    static let memory = 64, worked = 60

    let directory: TemporaryDirectory
    let source: QEMUProcess
    let destination: QEMUProcess
    let tunnel: DirectTunnel

    /// - Parameter idle: see `QEMUProcess.start`.
    static func start(incoming: Bool = true, destinationMemory: Int = memory, idle: Int = 0) async throws -> Pair {
        let directory = try TemporaryDirectory()
        let image = try await GuestImage.make(in: directory, memory: worked, pause: 10)
        let source = try await QEMUProcess.start("source", in: directory, image: image, memory: memory, idle: idle)
        let destination = try await QEMUProcess.start(
            "destination", in: directory, image: image, memory: destinationMemory, idle: idle, incoming: incoming)
        let tunnel = DirectTunnel(directory: directory, services: ["qmp": destination.qmpPath])
        try await source.guest.waitForPasses(3)
        return Pair(directory: directory, source: source, destination: destination, tunnel: tunnel)
    }

    var plan: MigrationPlan {
        var plan = MigrationPlan(source: source.qmpPath, peer: DirectTunnel.peer, destinationService: "qmp")
        plan.timeout = .seconds(60)
        // The guest changes all of its memory again and again, and a busy machine does not move that within 300 ms.
        plan.downtime = .seconds(3)
        return plan
    }

    /// A plan so slow that it can be disturbed on the way: the first pass alone takes a quarter of a minute.
    var slowPlan: MigrationPlan {
        var plan = plan
        plan.bandwidth = 4 << 20
        return plan
    }

    /// The guest has gone on at the destination where it stopped at the source, and its memory is whole.
    func expectMoved() async throws {
        try await destination.guest.waitForPasses(5)
        #expect(source.guest.fault == nil)
        #expect(destination.guest.fault == nil)
        #expect(destination.guest.continues(source.guest), "\(source.guest.text) then \(destination.guest.text)")
        expectTidy()
    }

    /// The guest goes on at the source, its memory is whole, and the destination has done nothing with it.
    func expectStayed() async throws {
        try await source.guest.waitForPasses(5)
        #expect(source.guest.fault == nil)
        #expect(destination.guest.passes == 0)
        expectTidy()
    }

    private func expectTidy() {
        #expect(tunnel.openForwards.isEmpty)
    }
}

/// Collects what a migration reports.
final class Reports: Sendable {
    private let list = Mutex<[MigrationEvent]>([])

    func callAsFunction(_ event: MigrationEvent) { list.withLock { $0.append(event) } }

    var all: [MigrationEvent] { list.withLock { $0 } }

    var stages: [MigrationStage] {
        all.compactMap { if case .stage(let stage) = $0 { stage } else { nil } }
    }

    /// Bytes on the way so far, as last reported; in one stage only, if it is named.
    func transferred(in stage: MigrationStage? = nil) -> UInt64 {
        all.reduce(0) { bytes, event in
            guard case .progress(let progress) = event, stage == nil || progress.stage == stage else { return bytes }
            return progress.transferred
        }
    }
}
