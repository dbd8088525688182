/// How far ahead of delivery a peer may send. Starts small and doubles while the window, not the sender, sets the pace,
/// so that a short path cycles through little memory and a long one is not capped; and halves when little of it is used.
struct ReceiveWindow {
    /// Every stream has this much, whatever the budget says.
    static let guaranteed = 64 << 10
    /// Granted when a stream opens, if that leaves half of the budget free.
    static let initial = 512 << 10
    /// Nanoseconds, or four round trips, after which a window of which less than a quarter was taken is too large.
    static let idle: UInt64 = 1_000_000_000

    private(set) var size = ReceiveWindow.guaranteed
    private var mark: UInt64 = 0
    private var markedAt: UInt64

    init(now: UInt64) { markedAt = now }

    /// - Returns: by how many bytes the window should grow after delivery reached `delivered`, 0 if not.
    mutating func growth(delivered: UInt64, now: UInt64, roundTrip: UInt64?, maximum: Int) -> Int {
        guard delivered - mark >= UInt64(size) else { return 0 }
        defer {
            mark = delivered
            markedAt = now
        }
        // A window that is used up in less than two round trips is what the sender waits for.
        guard let roundTrip, now < markedAt + 2 * roundTrip else { return 0 }
        return min(size, max(0, maximum - size))
    }

    mutating func grow(by bytes: Int) { size += bytes }

    /// Halves what has not been needed for a while, down to what a stream begins with.
    mutating func shrink(delivered: UInt64, now: UInt64, roundTrip: UInt64?) {
        guard now >= markedAt + max(Self.idle, 4 * (roundTrip ?? 0)) else { return }
        if delivered - mark < UInt64(size / 4) { size = max(min(size, Self.initial), size / 2) }
        mark = delivered
        markedAt = now
    }
}
