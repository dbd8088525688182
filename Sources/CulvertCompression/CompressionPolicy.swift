/// What a peer's streams are to be compressed with.
public enum CompressionMode: String, Sendable, Codable, CaseIterable {
    case none
    /// Whatever shrinks.
    case lz4
    /// As long as it makes the streams faster.
    case auto
}

/// Decides block by block whether compressing is worth a try.
///
/// Blocks that do not shrink have ever more of those behind them passed over, so incompressible data costs next to nothing.
/// For `auto` the bottleneck, link or processor, need not be known: from time to time the other way is tried for a moment, and
/// whichever carried more plain bytes is kept.
public struct CompressionPolicy {
    /// How long each way is measured, in nanoseconds.
    static let trial: UInt64 = 50_000_000
    /// How long the better one is kept before the other is tried again: a trial of the worse way then costs less than 5 %.
    static let term: UInt64 = 2_000_000_000
    /// The other way has to be better by this much.
    static let margin = 1.05
    /// Most blocks that are passed over behind one that did not shrink.
    static let longestPause = 32

    private let mode: CompressionMode
    private var compresses = true
    private var isTrial = false
    private var began: UInt64 = 0
    private var nextTrial: UInt64 = 0
    private var bytes = 0
    private var rate = 0.0
    private var pause = 0
    private var passedOver = 0

    public init(_ mode: CompressionMode) { self.mode = mode }

    /// Whether the next block of `count` bytes should be tried.
    public mutating func wants(_ count: Int, now: UInt64) -> Bool {
        switch mode {
        case .none: return false
        case .lz4: break
        case .auto:
            measure(count, now)
            guard compresses else { return false }
        }
        guard passedOver >= pause else {
            passedOver += 1
            return false
        }
        return true
    }

    public mutating func note(shrank: Bool) {
        passedOver = 0
        pause = shrank ? 0 : min(max(1, pause * 2), Self.longestPause)
    }

    private mutating func measure(_ count: Int, _ now: UInt64) {
        defer { bytes += count }
        let elapsed = now - min(began, now)
        guard elapsed >= Self.trial else { return }
        // Streams that paused say nothing about either way.
        if began != 0, elapsed < 4 * Self.trial { judge(Double(bytes) / Double(elapsed), now) }
        began = now
        bytes = 0
    }

    private mutating func judge(_ latest: Double, _ now: UInt64) {
        if isTrial {
            isTrial = false
            if latest < rate * Self.margin { compresses.toggle() }
            nextTrial = now + Self.term
        } else if now >= nextTrial {
            rate = latest
            isTrial = true
            compresses.toggle()
        }
    }
}
