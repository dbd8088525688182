import Foundation
import Testing

@testable import CulvertRelay

/// Relays whose every system call may fail. Each scene is a process of its own: faults, and descriptors that are counted,
/// are a whole process's.
///
/// CULVERT_FAULT_SEED repeats one seed, as far as threads allow, and as often as CULVERT_TEST_SCALE says;
/// CULVERT_FAULT_FIRST moves the range of seeds.
@Suite(.alone, .atOnce(3)) struct FaultTests {
    private static let scenes = 12

    @Test(arguments: 0..<scenes) func everyByteArrivesOrTheStreamIsResetWithAReason(scene: Int) async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) { [scene] in
            do {
                try await Self.run(scene)
            } catch {
                Issue.record(error)
            }
        }
        let said = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self)
        said.split(separator: "\n").filter { $0.hasPrefix("scene") }.forEach { print($0) }
    }

    /// The seeds of a scene: the same remainder by the number of scenes.
    private static func seeds(_ scene: Int) -> [UInt64] {
        let environment = ProcessInfo.processInfo.environment
        let count = UInt64(scenes)
        if let seed = environment["CULVERT_FAULT_SEED"].flatMap(UInt64.init) {
            return Int(seed % count) == scene ? Array(repeating: seed, count: scaled(1)) : []
        }
        let first = (environment["CULVERT_FAULT_FIRST"].flatMap(UInt64.init) ?? 0) / count * count
        return (0..<UInt64(scaled(100))).map { first + $0 * count + UInt64(scene) }
    }

    private static func run(_ scene: Int) async throws {
        let seeds = seeds(scene)
        guard !seeds.isEmpty else { return }
        try await FaultScene.run(scene) { relays in
            try await relays.recover()
            let idle = try openDescriptors().count
            var total = FaultScene.Outcome()
            let began = ContinuousClock.now
            for (index, seed) in seeds.enumerated() {
                do {
                    let outcome = try await relays.live(through: seed)
                    guard outcome.faults.isEmpty else { throw Failure(outcome.faults.joined(separator: "\n")) }
                    total.add(outcome)
                    if index % 20 == 19 || index == seeds.count - 1 {
                        try await relays.recover()
                        // And one that is on its way.
                        try await expectDescriptors(atMost: idle + 2)
                    }
                } catch {
                    throw Failure("CULVERT_FAULT_SEED=\(seed) repeats it: \(error); the relays said:\(await relays.report())")
                }
            }
            print("scene \(scene): \(seeds.count) seeds in \(ContinuousClock.now - began), \(total)")
            if !FaultScene.splices(scene) { #expect(total.counts.spliced == 0) }
            if seeds.count > 1 { #expect(total.counts.partial > 0 && total.counts.unready > 0) }
            // Connections are few, and so are pipes: a dozen seeds may meet no fault of theirs.
            if seeds.count >= 100 {
                #expect(total.counts.accept > 0)
                #expect((total.counts.spliced > 0) == FaultScene.splices(scene))
            }
        }
    }
}
