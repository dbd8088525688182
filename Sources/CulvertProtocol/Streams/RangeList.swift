/// Offsets of a stream as few ranges, in order, that neither overlap nor touch.
struct RangeList {
    /// A slice drops its first elements in constant time.
    private(set) var ranges: ArraySlice<Range<UInt64>> = []

    var isEmpty: Bool { ranges.isEmpty }
    var count: Int { ranges.count }
    var first: Range<UInt64>? { ranges.first }
    var last: Range<UInt64>? { ranges.last }

    mutating func insert(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        // Nearly always behind all others, or at the end of one.
        if ranges.last.map({ range.lowerBound > $0.upperBound }) ?? true { return ranges.append(range) }
        let from = firstIndex(endingAtOrBehind: range.lowerBound)
        var merged = range, to = from
        while to < ranges.endIndex, ranges[to].lowerBound <= merged.upperBound {
            merged = min(merged.lowerBound, ranges[to].lowerBound)..<max(merged.upperBound, ranges[to].upperBound)
            to += 1
        }
        if to == from + 1 { ranges[from] = merged } else { ranges.replaceSubrange(from..<to, with: CollectionOfOne(merged)) }
    }

    private func firstIndex(endingAtOrBehind offset: UInt64) -> Int {
        var low = ranges.startIndex, high = ranges.endIndex
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Forgets everything before `offset`.
    mutating func remove(upTo offset: UInt64) {
        while let first = ranges.first, first.lowerBound < offset {
            guard first.upperBound <= offset else {
                ranges[ranges.startIndex] = offset..<first.upperBound
                return
            }
            ranges.removeFirst()
        }
    }

    mutating func removeAll() { ranges = [] }
}
