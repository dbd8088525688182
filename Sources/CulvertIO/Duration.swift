extension Duration {
    /// Whole nanoseconds; a negative duration is 0, a longer one than 146 years is cut to that.
    public var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? UInt64.max / 4 : min(whole, UInt64.max / 4) + UInt64(attoseconds) / 1_000_000_000
    }
}
