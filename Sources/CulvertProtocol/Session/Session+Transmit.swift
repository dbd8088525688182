/// To the peer: frames out, the most urgent first.
extension Session {
    /// Something waits that `transmit` would send on some lane.
    public var wantsToTransmit: Bool { lanes.contains(where: wantsToTransmit) }

    /// Something waits that `transmit` would send on this lane.
    public func wantsToTransmit(on lane: SessionLane) -> Bool {
        if hasFailed { return goawayDue != nil }
        if ownHelloIsDue(on: lane) || goawayFits(lane) { return true }
        guard lane.isGreeted else { return false }
        if lane.pingDue || lane.pongDue != nil { return true }
        guard !lane.isLagging || lane === openingLane else { return false }
        return !acks.isEmpty || !resetAcks.isEmpty || !lastWords.isEmpty || !lane.isLagging && !scheduler.isEmpty
            || lane === openingLane && (!resets.isEmpty || !reopens.isEmpty || scheduler.hasPinned)
    }

    /// Fills `sink` while it has room: what keeps the session going first, then streams in turn.
    public func transmit(on lane: SessionLane, into sink: some FrameSink, now: UInt64) {
        self.now = now
        let opens = lane === openingLane
        if opens { scheduler.unpin() }
        while sink.hasRoom, !hasFailed || goawayDue != nil {
            if let frame = nextControlFrame(on: lane) {
                sink.put(frame)
            } else if lane.isGreeted, !lane.isLagging, let stream = scheduler.next(where: { opens || isConfirmed($0) }) {
                transmit(stream, on: lane, into: sink)
            } else {
                return
            }
        }
    }

    /// The peer is known to know it.
    public func isConfirmed(_ stream: SessionStream) -> Bool {
        !stream.outgoing || stream.id != 0 && stream.id <= confirmedOpen
    }

    private func nextControlFrame(on lane: SessionLane) -> UnsafeRawBufferPointer? {
        if ownHelloIsDue(on: lane) {
            lane.helloIsDue = false
            return encoder.hello(ownHello(on: lane))
        }
        if let goaway = goawayDue, goawayFits(lane) {
            goawayDue = nil
            return encoder.goaway(goaway)
        }
        guard lane.isGreeted else { return nil }
        if let value = lane.pongDue {
            lane.pongDue = nil
            return encoder.ping(.pong, value)
        }
        if lane.pingDue {
            lane.pingDue = false
            lane.pingSent = now
            return encoder.ping(.ping, now)
        }
        // What matters takes lanes that are known to deliver.
        guard !lane.isLagging || lane === openingLane else { return nil }
        if lane === openingLane, let open = reopens.popFirst() {
            return encoder.open(open, first: UnsafeRawBufferPointer(start: nil, count: 0), fin: false)
        }
        if let ack = resetAcks.popFirst() ?? lastWords.popFirst() {
            lane.remember(ack, now: now)
            return encoder.ack(ack)
        }
        while let stream = acks.popFirst() {
            stream.ackQueued = false
            guard stream.isLive else { continue }
            let ack = stream.receive.acknowledge(stream: stream.id)
            if ack.fin { lane.remember(ack, now: now) }
            let frame = encoder.ack(ack)
            hastenPings()
            closeIfOver(stream)
            return frame
        }
        // Behind the OPENs, and repeated until acknowledged.
        guard lane === openingLane else { return nil }
        while let id = resets.popFirst() {
            if let reset = unconfirmedResets[id] { return encoder.reset(reset) }
        }
        return nil
    }

    /// One that lets streams finish must not overtake the OPENs before it, repeated ones included.
    private func goawayFits(_ lane: SessionLane) -> Bool {
        guard let goaway = goawayDue else { return false }
        return peer == nil || (goaway.code.letsStreamsFinish ? lane === openingLane && reopens.isEmpty : lane.isGreeted)
    }

    /// The listener's HELLO repeats what it has to hear first.
    private func ownHelloIsDue(on lane: SessionLane) -> Bool {
        lane.helloIsDue && (configuration.role == .dialler || lane.isGreeted)
    }

    private func ownHello(on lane: SessionLane) -> Hello {
        var hello = Hello(
            session: id, initialCredit: UInt64(ReceiveWindow.guaranteed),
            maximumStreams: UInt32(clamping: configuration.maximumStreams), name: configuration.name)
        hello.features = features
        hello.lane = lane.number
        hello.replaces = lane.replaces ?? lane.number
        if configuration.role == .dialler { hello.secret = secret }
        return hello
    }

    private func transmit(_ stream: SessionStream, on lane: SessionLane, into sink: some FrameSink) {
        if stream.id == 0 {
            transmitOpen(stream, on: lane, into: sink)
        } else if case .resetting(let reason) = stream.state, stream.send.isAcknowledged {
            sendReset(stream, reason)
        } else {
            transmitData(stream, on: lane, into: sink)
        }
        spaceMayHaveGrown(stream)
    }

    private func transmitOpen(_ stream: SessionStream, on lane: SessionLane, into sink: some FrameSink) {
        stream.id = nextID
        nextID += 2
        table[stream.id] = stream
        let (_, first, fin) = stream.send.take(
            limit: FrameEncoder.openRoom(service: stream.service), lane: lane.number)
        let open = Open(
            stream: stream.id, credit: stream.receive.credit, priority: stream.priority, service: stream.service)
        opensInFlight.append(open)
        stream.schedule.deficit -= first.count + FrameHeader.size
        sink.put(encoder.open(open, first: UnsafeRawBufferPointer(first), fin: fin))
    }

    /// The header is written in front of the payload where that lies, so that both go out as one range. What the header
    /// covers, if it is the stream's own bytes, is put back.
    private func transmitData(_ stream: SessionStream, on lane: SessionLane, into sink: some FrameSink) {
        let (offset, payload, fin) = stream.send.take(limit: Chunk.capacity, lane: lane.number)
        stream.schedule.deficit -= payload.count + WireLimit.dataHeader
        hastenPings()
        if commonFeatures.contains(.lz4), let packed = packer?.pack(
            stream: stream.id, offset: offset, payload: UnsafeRawBufferPointer(payload), fin: fin)
        {
            return sink.put(packed)
        }
        guard let start = payload.baseAddress else {
            return sink.put(encoder.emptyData(stream: stream.id, offset: offset, fin: fin))
        }
        let header = UnsafeMutableRawBufferPointer(
            start: start - WireLimit.dataHeader, count: WireLimit.dataHeader)
        withUnsafeTemporaryAllocation(byteCount: WireLimit.dataHeader, alignment: 8) { covered in
            covered.copyMemory(from: UnsafeRawBufferPointer(header))
            FrameEncoder.writeDataHeader(to: header, stream: stream.id, offset: offset, count: payload.count, fin: fin)
            sink.put(UnsafeRawBufferPointer(start: header.baseAddress, count: header.count + payload.count))
            header.copyMemory(from: UnsafeRawBufferPointer(covered))
        }
    }
}
