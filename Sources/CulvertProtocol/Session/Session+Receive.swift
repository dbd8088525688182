import Glibc

/// From the peer: plaintext in, events out.
extension Session {
    /// Offers a stream's fresh bytes to the local side, which says how many it took at once.
    public typealias Delivery = (SessionStream, UnsafeBufferPointer<iovec>) -> Int

    /// Takes what a lane decrypted. Payload goes to `deliver` straight from `bytes`, in order, in batches; what is not
    /// taken is kept.
    /// - Throws: what the peer did wrong. The session is of no use then, except to send GOAWAY.
    public func receive(
        _ bytes: UnsafeRawBufferPointer, now: UInt64, deliver: Delivery
    ) throws(ProtocolViolation) {
        self.now = now
        lastReceived = now
        wasSilent = false
        var input = bytes
        var batch = Batch()
        while let item = try decoder.next(&input) {
            switch item {
            case .data(let id, let offset, let payload, let fin):
                guard let stream = try streamForData(id) else { continue }
                if batch.stream !== stream || batch.isFull { flush(&batch, deliver) }
                let fresh = try stream.receive.accept(stream: id, offset: offset, payload: payload, fin: fin)
                batch.add(fresh, stream)
                if fin { flush(&batch, deliver) }
            case .control(let header, let body):
                flush(&batch, deliver)
                try control(header, body, deliver)
                try checkFlood()
            }
        }
        flush(&batch, deliver)
    }

    /// Payload of one stream that lies in one received range.
    private struct Batch {
        static let capacity = 16
        var stream: SessionStream?
        var pieces: [iovec] = []

        var isFull: Bool { pieces.count == Self.capacity }

        mutating func add(_ bytes: UnsafeRawBufferPointer, _ stream: SessionStream) {
            self.stream = stream
            guard !bytes.isEmpty else { return }
            pieces.append(iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count))
        }
    }

    private func flush(_ batch: inout Batch, _ deliver: Delivery) {
        guard let stream = batch.stream else { return }
        batch.stream = nil
        batch.pieces.withUnsafeBufferPointer { settle(stream, $0, deliver) }
        batch.pieces.removeAll(keepingCapacity: true)
    }

    private func settle(_ stream: SessionStream, _ pieces: UnsafeBufferPointer<iovec>, _ deliver: Delivery) {
        // Reset by its owner while other bytes were on offer.
        guard stream.state != .gone else { return }
        if !pieces.isEmpty {
            let taken = offer(stream, pieces, deliver)
            guard stream.state != .gone else { return }
            stream.receive.settle(pieces, taken: taken)
        }
        if stream.receive.tellEnd() {
            stream.recount()
            events.append(.ended(stream))
        }
        queueAck(stream)
        delivered(stream)
    }

    private func offer(_ stream: SessionStream, _ pieces: UnsafeBufferPointer<iovec>, _ deliver: Delivery) -> Int {
        // Behind bytes that wait, new ones wait too.
        let taken = stream.isAbandoned || !stream.receive.queue.isEmpty ? 0 : deliver(stream, pieces)
        return stream.isAbandoned ? pieces.reduce(0) { $0 + $1.iov_len } : taken
    }

    /// The stream that a DATA frame belongs to. Nil: it is over already, and what still arrives for it is dropped.
    private func streamForData(_ id: UInt64) throws(ProtocolViolation) -> SessionStream? {
        guard peer != nil else { throw ProtocolViolation("DATA before HELLO") }
        if let stream = table[id] { return stream }
        try checkWasOpened(id, "DATA")
        return nil
    }

    private func checkWasOpened(_ id: UInt64, _ frame: String) throws(ProtocolViolation) {
        let isOwn = id % 2 == nextID % 2
        guard isOwn ? id < nextID : id <= highestPeerID else {
            throw ProtocolViolation("\(frame) for stream \(id), which was never opened")
        }
    }

    private func control(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ deliver: Delivery
    ) throws(ProtocolViolation) {
        guard (peer == nil) == (header.kind == .hello) || header.kind == .goaway else {
            throw ProtocolViolation(peer == nil ? "\(header.kind) before HELLO" : "a second HELLO")
        }
        switch header.kind {
        case .hello: try receiveHello(Hello(body: body))
        case .open: try receiveOpen(header, body, deliver)
        case .ack: try receiveAck(Ack(header, body))
        case .reset: try receiveReset(Reset(header, body))
        case .ping: pongDue = try pingValue(header, body)
        case .pong: measure(try pingValue(header, body))
        case .goaway:
            heardGoaway = true
            events.append(.goaway(try Goaway(body: body)))
        case .data: preconditionFailure("the decoder hands DATA on as payload")
        }
    }

    private func receiveHello(_ hello: Hello) throws(ProtocolViolation) {
        guard hello.minimumVersion <= Hello.currentVersion, hello.version >= Hello.currentVersion else {
            throw ProtocolViolation(
                code: .unsupportedVersion,
                "speaks versions \(hello.minimumVersion) to \(hello.version), this relay \(Hello.currentVersion)")
        }
        guard hello.lane == 0 else { throw ProtocolViolation("lane \(hello.lane) of a session with one lane") }
        switch configuration.role {
        case .listener:
            id = hello.session
        case .dialler:
            guard hello.session == id else { throw ProtocolViolation("answers for another session, \(hello.session)") }
        }
        peer = hello
        events.append(.established(hello))
    }

    private func receiveOpen(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ deliver: Delivery
    ) throws(ProtocolViolation) {
        let (open, first) = try Open.read(header, body)
        guard open.stream == nextPeerID else {
            throw ProtocolViolation("opens stream \(open.stream), the next one is \(nextPeerID)")
        }
        highestPeerID = open.stream
        guard ledger.peer < configuration.maximumStreams else {
            refuse(open, "this relay lets a peer have \(configuration.maximumStreams) streams open at once")
            return
        }
        // A peer that drains may still ask for what it took on before.
        guard !refusesOpens else {
            refuse(open, "the relay takes no new streams")
            return
        }
        let stream = SessionStream(
            id: open.stream, service: open.service, priority: open.priority, outgoing: false, state: .active,
            send: SendHalf(pool: pool, credit: open.credit),
            receive: ReceiveHalf(pool: pool, window: initialWindow()), ledger: ledger)
        table[stream.id] = stream
        events.append(.opened(stream))
        let fin = header.flags.contains(.fin)
        let fresh = try stream.receive.accept(stream: stream.id, offset: 0, payload: first, fin: fin)
        if fresh.isEmpty && !fin { return acknowledgeOpen(stream) }
        var batch = Batch()
        batch.add(fresh, stream)
        flush(&batch, deliver)
        acknowledgeOpen(stream)
    }

    /// Tells the opener at once what this side grants beyond the initial credit.
    private func acknowledgeOpen(_ stream: SessionStream) {
        guard !stream.ackQueued, stream.state == .active else { return }
        stream.ackQueued = true
        acks.append(stream)
    }

    private var nextPeerID: UInt64 {
        switch configuration.role {
        case .dialler: highestPeerID + 2
        case .listener: highestPeerID == 0 ? 1 : highestPeerID + 2
        }
    }

    private func refuse(_ open: Open, _ text: String) {
        resets.append(Reset(stream: open.stream, finalOffset: 0, reason: ResetReason(.refused, text)))
    }

    private func receiveAck(_ ack: Ack) throws(ProtocolViolation) {
        guard let stream = table[ack.stream] else {
            try checkWasOpened(ack.stream, "ACK")
            return
        }
        // A stream that was reset here is in no table any more.
        guard !ack.reset else {
            throw ProtocolViolation("stream \(ack.stream): acknowledges a reset that was not sent")
        }
        try stream.send.acknowledge(ack)
        stream.recount()
        scheduler.add(stream)
        spaceMayHaveGrown(stream)
        closeIfOver(stream)
    }

    private func receiveReset(_ reset: Reset) throws(ProtocolViolation) {
        // Acknowledged also when the stream is over here: the peer wants to forget it.
        resetAcks.append(Ack(stream: reset.stream, received: 0, credit: 0, reset: true))
        guard let stream = table[reset.stream] else { return try checkWasOpened(reset.stream, "RESET") }
        // On one lane, what was sent before has arrived before: any other offset would hide a loss.
        guard reset.finalOffset == stream.receive.received else {
            throw ProtocolViolation(
                "stream \(reset.stream): reset at \(reset.finalOffset), \(stream.receive.received) have arrived")
        }
        remove(stream)
        events.append(.reset(stream, reset.reason))
    }

    /// Resets and their acknowledgements that the lane has not taken: up to two for each stream that either side may have
    /// open are in order, more are a peer that asks for answers and does not read them.
    private func checkFlood() throws(ProtocolViolation) {
        let limit = 2 * (configuration.maximumStreams + ownLimit) + 1024
        guard resets.count + resetAcks.count <= limit else {
            throw ProtocolViolation("more than \(limit) resets that it does not read the answers to")
        }
    }

    private func pingValue(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> UInt64 {
        var body = FrameBody(body, of: header.kind)
        let value = try body.integer(UInt64.self)
        try body.end()
        return value
    }

    /// A value that is not the last ping's says nothing of the path.
    private func measure(_ value: UInt64) {
        guard let sent = pingSent, value == sent, sent <= now else { return }
        pingSent = nil
        roundTrip = now - sent
        leastRoundTrip = min(leastRoundTrip ?? .max, now - sent)
    }
}
