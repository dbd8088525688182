import Foundation

/// A rate from a growing total, smoothed over the last seconds.
struct RateMeter {
    /// Seconds after which a change has mostly come through.
    private let smoothing = 2.0
    private var last: (total: UInt64, time: Double)?
    private(set) var rate: Double = 0

    /// Notes the total at `time`, in seconds from anywhere.
    mutating func note(_ total: UInt64, at time: Double) {
        guard let last else {
            self.last = (total, time)
            return
        }
        let span = time - last.time
        guard span > 0.01 else { return }
        let now = Double(total > last.total ? total - last.total : 0) / span
        let weight = rate == 0 ? 1 : 1 - exp(-span / smoothing)
        rate += weight * (now - rate)
        self.last = (total, time)
    }
}
