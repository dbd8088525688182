import CulvertProtocol

/// Legs that wait for their turn to be read, each once.
struct Readers {
    private var legs = Fifo<Leg>()

    var isEmpty: Bool { legs.isEmpty }

    mutating func append(_ leg: Leg) {
        guard !leg.isQueued else { return }
        leg.isQueued = true
        legs.append(leg)
    }

    mutating func popFirst() -> Leg? {
        let leg = legs.popFirst()
        leg?.isQueued = false
        return leg
    }
}
