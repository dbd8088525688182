/// What happens because time passes.
extension Session {
    /// When `advance` is to be called, in nanoseconds.
    public var deadline: UInt64 {
        var first = UInt64.max
        for lane in lanes {
            if lane.isGreeted { first = min(first, lane.nextPing) }
            if !lane.wasSilent { first = min(first, lane.lastReceived + configuration.keepalive) }
        }
        if let detachedSince { first = min(first, detachedSince + configuration.resumeTimeout) }
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
        for lane in lanes { advance(lane) }
        findLaggingLanes()
        if let detachedSince, detachedSince + configuration.resumeTimeout <= now {
            self.detachedSince = nil
            events.append(.expired)
        }
    }

    private func advance(_ lane: SessionLane) {
        if lane.isGreeted, lane.nextPing <= now {
            // One that is not answered yet goes on measuring, within reason.
            lane.pingDue = lane.pingSent.map { now - $0 >= configuration.keepalive / 3 } ?? true
            lane.nextPing = now + pingInterval
            if lane === lanes.first { shrinkWindows() }
        }
        if !lane.wasSilent, lane.lastReceived + configuration.keepalive <= now {
            lane.wasSilent = true
            events.append(.silent(lane))
        }
    }

    private func shrinkWindows() {
        let roundTrip = spannedRoundTrip
        for stream in table.values {
            stream.receive.window.shrink(delivered: stream.receive.queue.start, now: now, roundTrip: roundTrip)
            stream.recount()
        }
    }

    private var pingInterval: UInt64 {
        now < comparedUntil ? min(SessionConfiguration.lanePing, configuration.keepalive / 3) : configuration.keepalive / 3
    }

    /// Several lanes that carry data are compared often.
    func hastenPings() {
        guard lanes.count > 1 else { return }
        comparedUntil = now + SessionConfiguration.comparison
        for lane in lanes { lane.nextPing = min(lane.nextPing, now + SessionConfiguration.lanePing) }
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
