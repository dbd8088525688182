import Glibc

/// From the peer: plaintext in, events out.
extension Session {
    /// Offers a stream's fresh bytes to the local side, which says how many it took at once.
    public typealias Delivery = (SessionStream, UnsafeBufferPointer<iovec>) -> Int

    /// Takes what a lane brought. Payload goes to `deliver` straight from `bytes`, in order, in batches; what is not
    /// taken is kept.
    /// - Throws: what the peer did wrong. The session is of no use then, except to send GOAWAY.
    public func receive(
        _ bytes: UnsafeRawBufferPointer, on lane: SessionLane, now: UInt64, deliver: Delivery
    ) throws(ProtocolViolation) {
        self.now = now
        lane.lastReceived = now
        lane.wasSilent = false
        var input = bytes
        var batch = Batch()
        while let item = try lane.decoder.next(&input) {
            switch item {
            case .control(let header, let body) where header.kind == .packed:
                flush(&batch, deliver)
                guard lane.isGreeted, commonFeatures.contains(.lz4), let packer else {
                    throw ProtocolViolation("PACKED without having been told that it is understood")
                }
                let (offset, payload) = try packer.unpack(body)
                let fin = header.flags.contains(.fin)
                guard let stream = try streamForData(header.stream, end: offset &+ UInt64(payload.count), fin) else { continue }
                batch.add(try stream.receive.accept(stream: header.stream, offset: offset, payload: payload, fin: fin), stream)
                flush(&batch, deliver)
            case .data(let id, let offset, let payload, let fin):
                guard lane.isGreeted else { throw ProtocolViolation("DATA before HELLO") }
                guard let stream = try streamForData(id, end: offset &+ UInt64(payload.count), fin) else { continue }
                if batch.stream !== stream || batch.isFull { flush(&batch, deliver) }
                let fresh = try stream.receive.accept(stream: id, offset: offset, payload: payload, fin: fin)
                batch.add(fresh, stream)
                if fin { flush(&batch, deliver) }
            case .control(let header, let body):
                flush(&batch, deliver)
                try control(header, body, on: lane, deliver)
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
            if stream.receive.settle(pieces, taken: taken) { offerKept(stream, deliver) }
            guard stream.state != .gone else { return }
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
        let taken = stream.receive.isDropping || !stream.receive.queue.isEmpty ? 0 : deliver(stream, pieces)
        return stream.receive.isDropping ? pieces.reduce(0) { $0 + $1.iov_len } : taken
    }

    /// A gap was closed: what lay behind it can go on.
    private func offerKept(_ stream: SessionStream, _ deliver: Delivery) {
        while stream.state != .gone, !stream.receive.queue.isEmpty {
            let (taken, offered) = stream.receive.queue.read(pieces: Batch.capacity) { pieces in
                let offered = pieces.reduce(0) { $0 + $1.iov_len }
                return (stream.receive.isDropping ? offered : deliver(stream, pieces), offered)
            }
            guard stream.state != .gone else { return }
            stream.receive.queue.release(upTo: stream.receive.queue.start + UInt64(taken))
            if taken < offered { return }
        }
    }

    /// The stream that a DATA frame belongs to. Nil: it is over already, and what still arrives for it is dropped.
    private func streamForData(
        _ id: UInt64, end: UInt64, _ fin: Bool
    ) throws(ProtocolViolation) -> SessionStream? {
        confirmOpen(id)
        if let stream = table[id] { return stream }
        try checkWasOpened(id, "DATA")
        // It ended well here, and the peer has not heard of it: the ACK that said so went down with its lane.
        if fin, unconfirmedResets[id] == nil {
            resetAcks.append(Ack(stream: id, received: end, credit: end, fin: true))
            try checkFlood()
        }
        return nil
    }

    private func checkWasOpened(_ id: UInt64, _ frame: String) throws(ProtocolViolation) {
        guard isOwn(id) ? id < nextID : id <= highestPeerID else {
            throw ProtocolViolation("\(frame) for stream \(id), which was never opened")
        }
    }

    private func control(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer, on lane: SessionLane, _ deliver: Delivery
    ) throws(ProtocolViolation) {
        guard lane.isGreeted != (header.kind == .hello) || header.kind == .goaway else {
            throw ProtocolViolation(lane.isGreeted ? "a second HELLO" : "\(header.kind) before HELLO")
        }
        switch header.kind {
        case .hello: try greet(lane, Hello(body: body), now: now)
        case .open: try receiveOpen(header, body, deliver)
        case .ack: try receiveAck(Ack(header, body))
        case .reset: try receiveReset(Reset(header, body))
        case .ping: lane.pongDue = try pingValue(header, body)
        case .pong: lane.measure(try pingValue(header, body), now: now)
        case .goaway:
            let goaway = try Goaway(body: body)
            // An answer to this lane's HELLO says nothing of lanes that were taken.
            guard lane.isGreeted || !lanes.contains(where: \.isGreeted) else { return events.append(.refused(lane, goaway)) }
            heardGoaway = true
            events.append(.goaway(goaway))
        case .attach: throw ProtocolViolation("ATTACH inside a session")
        case .data, .packed: preconditionFailure("payload is handled before")
        }
    }

    private func receiveOpen(
        _ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ deliver: Delivery
    ) throws(ProtocolViolation) {
        let (open, first) = try Open.read(header, body)
        if !isOwn(open.stream), open.stream <= highestPeerID { return repeatAck(open.stream) }
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

    /// The peer opens a stream again, on another lane, since it has not heard that the first OPEN arrived.
    private func repeatAck(_ id: UInt64) {
        guard let stream = table[id] else { return }
        stream.receive.repeatAck()
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
        queue(Reset(stream: open.stream, finalOffset: 0, reason: ResetReason(.refused, text)))
    }

    private func receiveAck(_ ack: Ack) throws(ProtocolViolation) {
        confirmOpen(ack.stream)
        if ack.reset { unconfirmedResets[ack.stream] = nil }
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
        confirmOpen(reset.stream)
        guard let stream = table[reset.stream] else { return try checkWasOpened(reset.stream, "RESET") }
        guard reset.finalOffset >= stream.receive.received else {
            throw ProtocolViolation(
                "stream \(reset.stream): reset at \(reset.finalOffset), \(stream.receive.received) have arrived")
        }
        remove(stream)
        events.append(.reset(stream, reset.reason))
    }

    /// Resets that are not acknowledged and acknowledgements that no lane has taken: up to two for each stream that either side may have
    /// open are in order, more are a peer that asks for answers and does not read them. Answers that were sent are kept for
    /// two round trips at most, in which hardly more streams can end than may be open.
    private func checkFlood() throws(ProtocolViolation) {
        let limit = 2 * (configuration.maximumStreams + ownLimit) + 1024
        // A peer that acknowledges a reset before it was sent leaves its id in the queue.
        guard max(unconfirmedResets.count, resets.count) + resetAcks.count <= limit else {
            throw ProtocolViolation("more than \(limit) resets that it does not read the answers to")
        }
        // On whichever lanes: the one that brings the questions need not be the one that takes the answers.
        guard lanes.reduce(lastWords.count, { $0 + $1.lastWords.count }) <= 2 * limit else {
            throw ProtocolViolation("more than \(2 * limit) streams ended, and no ping was answered meanwhile")
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
}
