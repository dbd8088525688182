/// What a peer's streams are to be compressed with.
public enum CompressionMode: String, Sendable, Codable, CaseIterable {
    case none
    /// Whatever shrinks.
    case lz4
    /// What shrinks, as far as it makes the streams faster.
    case auto
}

/// Decides block by block whether compressing is worth a try.
///
/// Blocks that do not shrink have ever more of those behind them passed over, so incompressible data costs next to nothing.
///
/// `auto` keeps both the link and the processor busy. As long as the processor waits for the link, it tries a greater share of
/// the blocks; once the link waits for the processor, a smaller one: all behind a slow link, hardly any before a fast one, and in
/// between a share that makes the streams faster than either. What costs less time than its saved bytes would take to encrypt
/// and send is compressed at any rate.
public struct CompressionPolicy {
    /// Most blocks that are passed over behind one that did not shrink.
    static let longestPause = 32
    /// One of so many blocks that would not be tried shows whether what comes now pays by itself.
    static let probeInterval = 256
    /// Of the processor's time, how much is left idle: that nothing is left would look the same however long the link waits.
    static let reserve = 0.02
    /// How much greater the share becomes after an interval in which the processor did nothing but wait for the link.
    static let growth = 0.5
    /// What is left of the share after an interval in which the processor had no time to spare.
    static let decline = 0.6
    /// So many blocks in a row have to cost more than they save, since any one may have been disturbed.
    static let patience = 4
    /// Bytes over which the cost of sending is averaged.
    static let costSpan = 64e6
    /// What sends less at once says what a system call costs, not a byte.
    static let leastSent: UInt64 = 64 << 10

    private let mode: CompressionMode
    /// Of the blocks, those that are to be tried, from 0 to 1; and what is due of the next one. It begins as slow links want it:
    /// that a link is fast is seen sooner than that one is slow.
    private var share = 1.0
    private var due = 0.0
    /// Blocks since one cost less than it saved.
    private var losses = CompressionPolicy.patience
    private var sinceTry = 0
    /// Nanoseconds that bytes took to encrypt and send, and how many they were.
    private var sending: (time: Double, bytes: Double) = (0, 0)
    private var pause = 0
    private var passedOver = 0
    /// Blocks since the last interval.
    private var offered = 0

    public init(_ mode: CompressionMode) { self.mode = mode }

    /// Whether the next block should be tried.
    public mutating func wants() -> Bool {
        switch mode {
        case .none: return false
        case .lz4: break
        case .auto: guard isDue() else { return false }
        }
        guard passedOver >= pause else {
            passedOver += 1
            return false
        }
        return true
    }

    private mutating func isDue() -> Bool {
        offered += 1
        due += share
        sinceTry += 1
        guard due >= 1 || losses < Self.patience || sinceTry >= Self.probeInterval else { return false }
        due = max(0, due - 1)
        return true
    }

    /// A block was tried.
    /// - Parameter packed: its size now; nil if it did not shrink.
    public mutating func tried(plain: Int, packed: Int?, nanoseconds: UInt64) {
        sinceTry = 0
        passedOver = 0
        pause = packed != nil ? 0 : min(max(1, pause * 2), Self.longestPause)
        let saved = Double(plain - (packed ?? plain)) * sending.time / max(sending.bytes, 1)
        losses = saved > Double(nanoseconds) ? 0 : losses + 1
    }

    /// What encrypting and sending took of the thread that compresses, compressing not counted.
    public mutating func sent(bytes: UInt64, nanoseconds: UInt64) {
        guard bytes >= Self.leastSent else { return }
        sending.time += Double(nanoseconds)
        sending.bytes += Double(bytes)
        guard sending.bytes > Self.costSpan else { return }
        sending = (sending.time / 2, sending.bytes / 2)
    }

    /// Learns from an interval of some 20 ms. All in nanoseconds.
    /// - Parameters:
    ///   - idle: the sending side had nothing to do.
    ///   - linkBusy: bytes were on their way.
    public mutating func learn(from interval: UInt64, idle: UInt64, linkBusy: UInt64) {
        guard offered > 0 else { return }
        offered = 0
        // Both at once for at least as long as they exceed the time together.
        let waited = (Double(idle) + Double(min(linkBusy, interval))) / Double(interval) - 1
        share = waited > Self.reserve ? min(1, share + Self.growth * waited) : share * Self.decline
    }
}
