/// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same from the same seed everywhere.
struct Randomness: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

    /// Up to `limit`, each order of magnitude as probable as the others; 0 too.
    mutating func size(upTo limit: Int) -> Int {
        guard limit > 0, !chance(10) else { return 0 }
        let bits = Int.random(in: 0...(limit.bitWidth - 1 - limit.leadingZeroBitCount), using: &self)
        return min(limit, Int.random(in: 1 << bits..<2 << bits, using: &self))
    }
}
