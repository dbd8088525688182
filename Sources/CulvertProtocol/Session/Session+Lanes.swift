/// Lanes that come and go: the session outlives them.
extension Session {
    /// Adds a connection that was just made. The dialling side's lane says HELLO at once, the listening side's answers.
    /// - Parameter replacing: a lane that was lost, which the peer may not have noticed yet.
    public func addLane(replacing: SessionLane? = nil, now: UInt64) -> SessionLane {
        let lane = SessionLane(number: nextLane, replaces: replacing?.number, now: now)
        if configuration.role == .dialler { nextLane += 1 }
        lanes.append(lane)
        return lane
    }

    /// Takes the peer's HELLO on a lane.
    /// - Throws: what is wrong with it. The lane is of no use then; a session that had others goes on with them.
    public func greet(_ lane: SessionLane, _ hello: Hello, now: UInt64) throws(ProtocolViolation) {
        self.now = now
        try hello.checkVersion()
        switch configuration.role {
        case .dialler:
            guard hello.session == id, hello.lane == lane.number else {
                throw ProtocolViolation("answers for lane \(hello.lane) of session \(hello.session)")
            }
        case .listener:
            try admit(lane, hello)
        }
        lane.isGreeted = true
        lane.lastReceived = now
        lane.nextPing = now
        detachedSince = nil
        if openingLane == nil { electOpeningLane() }
        if peer == nil {
            peer = hello
            events.append(.established(hello))
        } else {
            // What was sent on a lane that is gone may never have arrived, whoever noticed first.
            repeatUnconfirmed()
            events.append(.joined(lane))
        }
    }

    private func admit(_ lane: SessionLane, _ hello: Hello) throws(ProtocolViolation) {
        // Made later than all that it can replace. Those may never have arrived here.
        guard hello.replaces <= hello.lane else {
            throw ProtocolViolation("lane \(hello.lane) replaces lane \(hello.replaces), which was never made")
        }
        guard peer != nil else {
            guard hello.lane == 0 else { throw ProtocolViolation(code: .unknownSession, "there is no session \(hello.session)") }
            id = hello.session
            secret = hello.secret
            return
        }
        guard hello.session == id, hello.secret.matchesSecret(secret), hello.lane != 0 else {
            throw ProtocolViolation(
                code: .unknownSession,
                hello.session == id && hello.lane != 0 ? "wrong secret for session \(id)" : "there is no session \(hello.session)")
        }
        guard !lanes.contains(where: { $0.isGreeted && $0.number == hello.lane }) else {
            throw ProtocolViolation("lane \(hello.lane) is there already")
        }
        lane.number = hello.lane
        if hello.replaces != hello.lane, let old = lanes.first(where: { $0.isGreeted && $0.number == hello.replaces }) {
            lose(old, now: now)
            events.append(.replaced(old))
        }
    }

    /// A lane is gone. What it carried and the peer has not confirmed goes over the others, or over the next one.
    public func lose(_ lane: SessionLane, now: UInt64) {
        self.now = now
        guard let index = lanes.firstIndex(where: { $0 === lane }) else { return }
        lanes.remove(at: index)
        guard lane.isGreeted else { return }
        for stream in table.values { sendAgain(stream, from: lane) }
        // The peer may have lost it long ago, and asked again for what was then answered here.
        for index in 0..<lane.lastWords.count { lastWords.append(lane.lastWords[index].ack) }
        repeatUnconfirmed()
        if openingLane === lane { electOpeningLane() }
        if !lanes.contains(where: \.isGreeted) { detachedSince = now }
    }

    private func sendAgain(_ stream: SessionStream, from lane: SessionLane) {
        stream.send.lose(lane.number)
        scheduler.add(stream)
    }

    /// There is no lane at the moment.
    public var isDetached: Bool { detachedSince != nil }

    /// OPENs, and what follows them before the peer has confirmed them, keep their order by taking one lane. Whichever takes
    /// over repeats those that are not confirmed.
    func electOpeningLane() {
        openingLane = lanes.first { $0.isGreeted && !$0.isLagging } ?? lanes.first { $0.isGreeted }
        reopens = opensInFlight
    }

    /// The peer has shown that it knows this stream, so it knows all that were opened before.
    func confirmOpen(_ id: UInt64) {
        guard id > confirmedOpen, isOwn(id) else { return }
        confirmedOpen = id
        while let first = opensInFlight.first, first.stream <= id { _ = opensInFlight.popFirst() }
        scheduler.unpin()
    }

    func isOwn(_ id: UInt64) -> Bool { id % 2 == nextID % 2 }

    /// Acknowledgements, resets and a farewell may have been lost with a lane.
    private func repeatUnconfirmed() {
        for stream in table.values where stream.isLive && isConfirmed(stream) {
            stream.send.askForEnd()
            scheduler.add(stream)
            stream.receive.repeatAck()
            guard !stream.ackQueued else { continue }
            stream.ackQueued = true
            acks.append(stream)
        }
        resets = Fifo()
        for id in unconfirmedResets.keys.sorted() { resets.append(id) }
        if let farewell, goawayDue == nil { goawayDue = farewell }
    }

    // MARK: Lag

    /// Lanes of one session differ; data that is stuck on a slow one holds up all that came after it. A lane lags when
    /// another has answered a ping that was sent later, and had ample time to answer its own.
    func findLaggingLanes() {
        guard lanes.count > 1 else { return }
        for lane in lanes where lane.isGreeted && !lane.isLagging {
            guard let sent = lane.pingSent, let rival = fastest(besides: lane), rival.provenAt > sent else { continue }
            // Its own last answer counts too: on a slow lane a ping waits behind what the lane holds, as it always does.
            let ample = max(SessionConfiguration.leastLag, 4 * (rival.roundTrip ?? 0), 2 * (lane.roundTrip ?? 0))
            guard now - sent > ample else { continue }
            lane.isLagging = true
            for stream in table.values { sendAgain(stream, from: lane) }
            repeatUnconfirmed()
            if openingLane === lane { electOpeningLane() }
        }
    }

    private func fastest(besides lane: SessionLane) -> SessionLane? {
        lanes.filter { $0 !== lane && $0.isGreeted && !$0.isLagging }.max { $0.provenAt < $1.provenAt }
    }
}
