/// What happens to a stream inside its session: counting, scheduling, its end.
extension Session {
    /// Credit cannot be taken back from a stream that makes no use of it. So streams begin with more than what is guaranteed only
    /// while half of the budget stays free for those that move; the others have to use up what they have first.
    func initialWindow() -> ReceiveWindow {
        var window = ReceiveWindow(now: now)
        let extra = min(ReceiveWindow.initial, configuration.streamWindow) - window.size
        if ledger.budget.staysHalfFree(with: extra) { window.grow(by: extra) }
        return window
    }

    func becameSendable(_ stream: SessionStream) {
        if case .waiting = stream.state {
            if stream.hasSpoken { opens.release(stream.service, now: now) { release($0) } }
        } else {
            scheduler.add(stream)
        }
    }

    func release(_ stream: SessionStream) {
        stream.state = .active
        scheduler.add(stream)
    }

    /// The local side took bytes: credit may grow, and the window with it.
    func delivered(_ stream: SessionStream) {
        guard stream.isLive else { return }
        let growth = stream.receive.window.growth(
            delivered: stream.receive.queue.start, now: now, roundTrip: spannedRoundTrip,
            maximum: configuration.streamWindow)
        if growth > 0 {
            // No window becomes larger than what is left for the others.
            let fair = (ledger.budget.room - stream.receive.window.size) / 2
            stream.receive.window.grow(by: max(0, min(growth, fair)))
            stream.recount()
        }
        queueAck(stream)
        closeIfOver(stream)
    }

    func queueAck(_ stream: SessionStream) {
        guard stream.isLive, stream.id != 0, !stream.ackQueued else { return }
        if stream.receive.ackIsUrgent {
            stream.ackQueued = true
            acks.append(stream)
        } else if stream.receive.ackIsDue, !stream.ackDelayed {
            stream.ackDelayed = true
            delayedAcks.append(stream)
            if delayedAcksDeadline == nil { delayedAcksDeadline = now + SessionConfiguration.ackDelay }
        }
    }

    func spaceMayHaveGrown(_ stream: SessionStream) {
        guard stream.wantsSpace, space(stream) > 0 else { return }
        stream.wantsSpace = false
        events.append(.writable(stream))
    }

    func starve(_ stream: SessionStream) {
        guard !stream.isStarved else { return }
        stream.isStarved = true
        starved.append(stream)
        if starvedDeadline == nil { starvedDeadline = now + SessionConfiguration.memoryRetry }
    }

    /// Both directions are over, both sides know it, and the local side has everything.
    func closeIfOver(_ stream: SessionStream) {
        guard stream.state == .active, stream.send.end == .acknowledged, stream.receive.isDelivered,
            stream.receive.isClosed
        else { return }
        remove(stream)
        events.append(.closed(stream))
    }

    func sendReset(_ stream: SessionStream, _ reason: ResetReason) {
        queue(Reset(stream: stream.id, finalOffset: stream.send.sent, reason: reason))
        remove(stream)
    }

    /// It is repeated on the next lane if this one is lost, until the peer has acknowledged it.
    func queue(_ reset: Reset) {
        unconfirmedResets[reset.stream] = reset
        resets.append(reset.stream)
    }

    /// The session's last act on a stream. What was received stays readable, and counted.
    func remove(_ stream: SessionStream) {
        guard stream.state != .gone else { return }
        stream.state = .gone
        stream.send.discard()
        stream.receive.giveUpGaps()
        stream.recount()
        if stream.id != 0 { table[stream.id] = nil }
        tidyQueues()
    }

    /// With a peer that reads just the most urgent answers, the queues behind these never move. Streams that are over leave them
    /// before they can outnumber the others.
    private func tidyQueues() {
        endedSinceTidy += 1
        guard endedSinceTidy > 64 + max(acks.count, scheduler.queued) / 2 else { return }
        endedSinceTidy = 0
        acks.removeAll(where: \.isGone)
        scheduler.removeGone()
    }
}
