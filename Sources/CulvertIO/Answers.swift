/// How the peer of a TCP connection answers what it was sent.
public struct Answers: Sendable, Equatable {
    /// Bytes that it has acknowledged so far.
    public var acknowledged: UInt64
    /// Nanoseconds since it acknowledged anything, be it nothing new.
    public var silence: UInt64
    /// Something that was sent waits for an answer.
    public var areDue: Bool

    public init(acknowledged: UInt64, silence: UInt64, areDue: Bool) {
        (self.acknowledged, self.silence, self.areDue) = (acknowledged, silence, areDue)
    }
}

/// Tells a peer that is gone from one that takes nothing at the moment. TCP_USER_TIMEOUT does not: for it, a peer that has no
/// room is as good as gone, although it answers whenever it is asked.
public struct SilenceWatch: Sendable {
    /// Since when answers have been due, and what had been acknowledged by then.
    private var waiting: (since: UInt64, acknowledged: UInt64)?

    public init() {}

    /// Whether an answer has been due for `limit`, and nothing came. To be asked several times within `limit`; all in
    /// nanoseconds.
    public mutating func isOver(_ answers: Answers, now: UInt64, limit: UInt64) -> Bool {
        guard answers.areDue, let waiting, waiting.acknowledged == answers.acknowledged else {
            waiting = answers.areDue ? (now, answers.acknowledged) : nil
            return false
        }
        // Bytes sent after a long rest have been due for a moment only, however long ago the last answer came.
        return now - waiting.since >= limit && answers.silence >= limit
    }
}
