/// Offsets of a stream as few ranges, in order, that neither overlap nor touch.
struct RangeList {
    private(set) var ranges: [Range<UInt64>] = []

    var isEmpty: Bool { ranges.isEmpty }
    var count: Int { ranges.count }
    var first: Range<UInt64>? { ranges.first }

    mutating func insert(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        // Nearly always at the end.
        if let last = ranges.last, range.lowerBound > last.upperBound { return ranges.append(range) }
        let from = ranges.firstIndex { $0.upperBound >= range.lowerBound } ?? ranges.count
        var merged = range, to = from
        while to < ranges.count, ranges[to].lowerBound <= merged.upperBound {
            merged = min(merged.lowerBound, ranges[to].lowerBound)..<max(merged.upperBound, ranges[to].upperBound)
            to += 1
        }
        ranges.replaceSubrange(from..<to, with: CollectionOfOne(merged))
    }

    /// Forgets everything before `offset`.
    mutating func remove(upTo offset: UInt64) {
        guard let first = ranges.first, first.lowerBound < offset else { return }
        let gone = ranges.firstIndex { $0.upperBound > offset } ?? ranges.count
        ranges.removeFirst(gone)
        if let first = ranges.first, first.lowerBound < offset { ranges[0] = offset..<first.upperBound }
    }

    mutating func removeAll() { ranges = [] }
}
