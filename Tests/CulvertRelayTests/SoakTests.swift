import CLinux
import Foundation
import Testing

@testable import CulvertRelay

/// Two relays that live through random faults, reloads and traffic for as long as CULVERT_SOAK says, in minutes. Looks
/// again and again, in fair weather, at whether anything has grown. Has a process for itself, since memory, descriptors and
/// threads are counted: `make soak`.
@Suite(.enabled(if: minutes != nil)) struct SoakTests {
    @Test func nothingGrowsAndNoByteIsWrong() async throws {
        let first = UInt64.random(in: 0..<1 << 40)
        let duration = Duration.seconds(60 * minutes!)
        print("seeds from \(first) on, for \(duration)")
        try await FaultScene.run(1) { relays in
            let began = ContinuousClock.now
            var seed = first, total = FaultScene.Outcome()
            var samples: [Footprint] = []
            while ContinuousClock.now < began + duration {
                for _ in 0..<50 {
                    do {
                        let outcome = try await relays.live(through: seed, largest: 4 << 20)
                        guard outcome.faults.isEmpty else { throw Failure(outcome.faults.joined(separator: "\n")) }
                        total.add(outcome)
                    } catch {
                        throw Failure("seed \(seed): \(error); the relays said:\(await relays.report())")
                    }
                    seed += 1
                }
                try await relays.recover()
                let sample = try await Footprint.settled(after: samples)
                samples.append(sample)
                print("\((ContinuousClock.now - began).components.seconds) s: \(seed - first) seeds, \(total); \(sample)")
            }
            try Footprint.expectNoGrowth(samples)
        }
    }
}

private let minutes = ProcessInfo.processInfo.environment["CULVERT_SOAK"].flatMap(Double.init)

/// What the process takes up.
private struct Footprint: CustomStringConvertible {
    var residentBytes: Int
    var descriptors: Int
    var threads: Int

    private static func now() throws -> Footprint {
        let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .ascii).split(separator: " ")[1]
        return Footprint(
            residentBytes: Int(pages)! * Int(getpagesize()), descriptors: try openDescriptors().count,
            threads: try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count)
    }

    /// Once descriptors and threads are as few as they were in the first sample. That one may lack a connection, and threads
    /// of the concurrency runtime's, which come and go.
    static func settled(after samples: [Footprint]) async throws -> Footprint {
        var sample = try now()
        guard let first = samples.first else { return sample }
        try await eventually("it is back to \(first); it is \(sample)") {
            sample = try now()
            return sample.descriptors <= first.descriptors + 2 && sample.threads <= first.threads + 8
        }
        return sample
    }

    /// The last quarter takes no more memory than the second one, but for what an allocator's fragments may cost.
    static func expectNoGrowth(_ samples: [Footprint]) throws {
        guard samples.count >= 8 else { throw Failure("only \(samples.count) samples; it needs to run longer") }
        let quarter = samples.count / 4
        let before = median(samples[quarter..<2 * quarter]), after = median(samples.suffix(quarter))
        print("resident: \(before >> 20) MiB in the second quarter, \(after >> 20) MiB in the last")
        #expect(after <= before + before / 10 + 4 << 20)
    }

    private static func median(_ samples: some Collection<Footprint>) -> Int {
        samples.map(\.residentBytes).sorted()[samples.count / 2]
    }

    var description: String { "\(residentBytes >> 20) MiB resident, \(descriptors) descriptors, \(threads) threads" }
}
