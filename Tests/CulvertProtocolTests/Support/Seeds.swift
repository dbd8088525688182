import Foundation
import Testing

/// A small generator whose every run is named by one number (SplitMix64, Steele et al., OOPSLA 2014).
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Not quite uniform, which does not matter here.
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

/// Seeds of the randomised tests. `CULVERT_SEED` replays the one that a failure names; `CULVERT_ROUNDS` multiplies their
/// number, `CULVERT_TEST_SCALE` too.
enum Seeds {
    static func list(_ count: Int) -> [UInt64] {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["CULVERT_SEED"].flatMap(UInt64.init) { return [seed] }
        let rounds = environment["CULVERT_ROUNDS"].flatMap(Double.init) ?? 1
        return (1...max(1, Int(Double(count) * rounds * scale))).map(UInt64.init)
    }

    /// Share of the heavy cases to run: below 1 where a sanitizer makes them slow.
    static var scale: Double { ProcessInfo.processInfo.environment["CULVERT_TEST_SCALE"].flatMap(Double.init) ?? 1 }
}
