/// To the peer: frames out, the most urgent first.
extension Session {
    /// Something waits that `transmit` would send.
    public var wantsToTransmit: Bool {
        if hasFailed { return goawayDue != nil }
        return ownHelloIsDue || goawayDue != nil || pingDue || pongDue != nil
            || !acks.isEmpty || !resetAcks.isEmpty || !resets.isEmpty || peer != nil && !scheduler.isEmpty
    }

    /// Fills `sink` while it has room: what keeps the session going first, then streams in turn.
    public func transmit(into sink: some FrameSink, now: UInt64) {
        self.now = now
        while sink.hasRoom, !hasFailed || goawayDue != nil {
            if let frame = nextControlFrame() {
                sink.put(frame)
            } else if peer != nil, let stream = scheduler.next() {
                transmit(stream, into: sink)
            } else {
                return
            }
        }
    }

    private func nextControlFrame() -> UnsafeRawBufferPointer? {
        if ownHelloIsDue {
            helloIsDue = false
            return encoder.hello(ownHello)
        }
        if let goaway = goawayDue {
            goawayDue = nil
            return encoder.goaway(goaway)
        }
        guard peer != nil else { return nil }
        if let value = pongDue {
            pongDue = nil
            return encoder.ping(.pong, value)
        }
        if pingDue {
            pingDue = false
            pingSent = now
            return encoder.ping(.ping, now)
        }
        if let ack = resetAcks.popFirst() { return encoder.ack(ack) }
        while let stream = acks.popFirst() {
            stream.ackQueued = false
            guard stream.isLive else { continue }
            let frame = encoder.ack(stream.receive.acknowledge(stream: stream.id))
            closeIfOver(stream)
            return frame
        }
        return resets.popFirst().map { encoder.reset($0) }
    }

    /// The listener's HELLO repeats the session's id, which it has to hear first.
    private var ownHelloIsDue: Bool { helloIsDue && (configuration.role == .dialler || peer != nil) }

    private var ownHello: Hello {
        Hello(
            session: id, initialCredit: UInt64(ReceiveWindow.guaranteed),
            maximumStreams: UInt32(clamping: configuration.maximumStreams), name: configuration.name)
    }

    private func transmit(_ stream: SessionStream, into sink: some FrameSink) {
        if stream.id == 0 {
            transmitOpen(stream, into: sink)
        } else if case .resetting(let reason) = stream.state, stream.send.unsent == 0 {
            sendReset(stream, reason)
        } else {
            transmitData(stream, into: sink)
        }
        spaceMayHaveGrown(stream)
    }

    private func transmitOpen(_ stream: SessionStream, into sink: some FrameSink) {
        stream.id = nextID
        nextID += 2
        table[stream.id] = stream
        let (_, first, fin) = stream.send.take(limit: FrameEncoder.openRoom(service: stream.service))
        let open = Open(
            stream: stream.id, credit: stream.receive.credit, priority: stream.priority, service: stream.service)
        stream.schedule.deficit -= first.count + FrameHeader.size
        sink.put(encoder.open(open, first: UnsafeRawBufferPointer(first), fin: fin))
    }

    /// The header is written in front of the payload where that lies, so that both go out as one range. What the header
    /// covers, if it is the stream's own bytes, is put back.
    private func transmitData(_ stream: SessionStream, into sink: some FrameSink) {
        let (offset, payload, fin) = stream.send.take(limit: Chunk.capacity)
        stream.schedule.deficit -= payload.count + WireLimit.dataHeader
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
