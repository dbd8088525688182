/// How far ahead of delivery a peer may send. Starts small and doubles while the window, not the sender, sets the pace,
/// so that a short path cycles through little memory and a long one is not capped.
struct ReceiveWindow {
    /// Every stream has this much, whatever the budget says.
    static let guaranteed = 64 << 10
    /// Granted when a stream opens, if the budget has room.
    static let initial = 512 << 10

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
}
