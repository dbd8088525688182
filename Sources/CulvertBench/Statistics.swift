/// What repeated measurements came to.
public struct Summary: Sendable, Codable, Equatable {
    public var median: Double
    public var least: Double
    public var most: Double

    /// - Returns: nil if there are no values.
    public init?(_ values: [Double]) {
        let sorted = values.sorted()
        guard let least = sorted.first, let most = sorted.last, let median = percentile(50, of: sorted) else { return nil }
        self.median = median
        self.least = least
        self.most = most
    }
}

/// The value below which `percent` of the values lie, interpolated between its neighbours. Nil if there are none.
func percentile(_ percent: Double, of sorted: [Double]) -> Double? {
    guard !sorted.isEmpty else { return nil }
    let position = percent / 100 * Double(sorted.count - 1)
    let below = Int(position)
    let above = min(below + 1, sorted.count - 1)
    return sorted[below] + (sorted[above] - sorted[below]) * (position - Double(below))
}

/// How long answers took.
public struct RoundTrips: Sendable, Codable, Equatable {
    /// Microseconds.
    public var median: Double
    public var p99: Double
    public var count: Int

    /// - Parameter seconds: one for each answer, at least one.
    init(_ seconds: [Double]) {
        let sorted = seconds.sorted()
        precondition(!sorted.isEmpty)
        median = percentile(50, of: sorted)! * 1e6
        p99 = percentile(99, of: sorted)! * 1e6
        count = sorted.count
    }
}
