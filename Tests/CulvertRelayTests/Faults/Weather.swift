import CLinux

/// What the connections of two relays go through, drawn from a seed. Lanes are TCP, legs are UNIX sockets.
struct Weather {
    enum Kind: CaseIterable {
        /// Slow and in small pieces: nothing may be lost.
        case harmless
        /// The lanes break too, and bring wrong bytes.
        case lanesBreak
        /// The sockets of local programs break too.
        case legsBreak
        case everythingBreaks
    }

    let kind: Kind
    let plan: clinux_fault_plan
    /// How long it lasts.
    let duration: Duration

    init(seed: UInt64, using random: inout Randomness) {
        kind = Kind.allCases.randomElement(using: &random)!
        let (lanesBreak, legsBreak) = switch kind {
        case .harmless: (false, false)
        case .lanesBreak: (true, false)
        case .legsBreak: (false, true)
        case .everythingBreaks: (true, true)
        }
        var tcp = clinux_fault_rates.harmless(using: &random), local = clinux_fault_rates.harmless(using: &random)
        if lanesBreak {
            tcp.reset = random.rate(300...4000)
            tcp.corrupt = random.rate(300...4000)
        }
        if legsBreak { local.reset = random.rate(300...2000) }
        plan = clinux_fault_plan(
            seed: seed, longest_wait: random.chance(50) ? 1 : UInt32.random(in: 2...30, using: &random), tcp: tcp, local: local,
            accept: random.rate(0...12_000), connect: random.rate(0...40_000))
        duration = .milliseconds(Int.random(in: 20...500, using: &random))
    }
}

extension clinux_fault_rates {
    fileprivate static func harmless(using random: inout Randomness) -> clinux_fault_rates {
        clinux_fault_rates(partial: random.rate(0...35_000), unready: random.rate(0...25_000), reset: 0, corrupt: 0)
    }
}

extension Randomness {
    /// Of 65,536 calls; one time in three the least.
    fileprivate mutating func rate(_ range: ClosedRange<UInt16>) -> UInt16 {
        chance(33) ? range.lowerBound : UInt16.random(in: range, using: &self)
    }
}
