/// What happens because time passes.
extension Session {
    /// When `advance` is to be called, in nanoseconds.
    public var deadline: UInt64 {
        var first = peer == nil ? UInt64.max : nextPing
        if !wasSilent { first = min(first, lastReceived + configuration.keepalive) }
        if let due = opens.deadline { first = min(first, due) }
        if let due = delayedAcksDeadline { first = min(first, due) }
        if let due = starvedDeadline { first = min(first, due) }
        return first
    }

    public func advance(now: UInt64) {
        self.now = now
        if opens.deadline.map({ $0 <= now }) ?? false { opens.releaseDue(now: now) { release($0) } }
        if delayedAcksDeadline.map({ $0 <= now }) ?? false { sendDelayedAcks() }
        if starvedDeadline.map({ $0 <= now }) ?? false { feedStarved() }
        if peer != nil, nextPing <= now {
            pingDue = true
            nextPing = now + configuration.keepalive / 3
        }
        if !wasSilent, lastReceived + configuration.keepalive <= now {
            wasSilent = true
            events.append(.silent)
        }
    }

    private func sendDelayedAcks() {
        delayedAcksDeadline = nil
        while let stream = delayedAcks.popFirst() {
            stream.ackDelayed = false
            guard stream.isLive, !stream.ackQueued, stream.receive.ackIsDue else { continue }
            stream.ackQueued = true
            acks.append(stream)
        }
    }

    private func feedStarved() {
        starvedDeadline = nil
        for _ in 0..<starved.count {
            guard let stream = starved.popFirst() else { return }
            stream.isStarved = false
            // Starves again, at the end of the queue, if there is still no room.
            spaceMayHaveGrown(stream)
        }
    }
}
