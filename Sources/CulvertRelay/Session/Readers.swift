/// Legs that wait for their turn to be read, each once.
struct Readers {
    private var legs: [Leg] = []
    private var head = 0

    var isEmpty: Bool { head == legs.count }

    mutating func append(_ leg: Leg) {
        guard !leg.isQueued else { return }
        leg.isQueued = true
        legs.append(leg)
    }

    mutating func popFirst() -> Leg? {
        guard !isEmpty else { return nil }
        let leg = legs[head]
        head += 1
        if head * 2 > legs.count {
            legs.removeFirst(head)
            head = 0
        }
        leg.isQueued = false
        return leg
    }
}
