/// What the admin interface shows of a session.
extension LiveSession {
    var status: SessionStatus {
        SessionStatus(
            id: session.id.description, dialled: dialled, draining: isDraining,
            age: seconds(since: made), rtt: session.roundTrip.map(Self.milliseconds),
            rttMinimum: session.leastRoundTrip.map(Self.milliseconds),
            lanesLost: lanesLost, compression: compression,
            bulk: BulkStatus(
                wanted: peer.settings.protection.rawValue,
                agreed: (agreedBypass?.protection ?? .userspace).rawValue),
            lanes: links.map {
                LaneStatus(
                    number: $0.half.number, local: $0.lane.local, remote: $0.lane.remote, tls: $0.lane.summary,
                    loop: $0.lane.loopName, rtt: $0.half.roundTrip.map(Self.milliseconds), bytesSent: $0.lane.bytesSent,
                    bytesReceived: $0.lane.bytesReceived)
            },
            streams: legs.values.sorted { ($0.opened, $0.stream.id) < ($1.opened, $1.stream.id) }.map(status))
    }

    private var compression: CompressionStatus {
        let (sent, received) = session.compressed
        return CompressionStatus(
            mode: mode.rawValue, sentPlain: sent.plain, sentPacked: sent.packed, receivedPlain: received.plain,
            receivedPacked: received.packed)
    }

    private func status(of leg: Leg) -> StreamStatus {
        let stream = leg.stream
        return StreamStatus(
            id: stream.id, service: stream.service, outgoing: stream.outgoing, forward: leg.forward?.id,
            state: leg.stateName, age: seconds(since: leg.opened),
            bytesSent: leg.bytesSent, bytesReceived: leg.bytesReceived,
            splicedSent: leg.spliced.sent, splicedReceived: leg.spliced.received,
            lossless: leg.outgoing?.isInCharge != true && leg.incoming?.isInCharge != true,
            sendRate: leg.sendRate, receiveRate: leg.receiveRate, unacknowledged: stream.unacknowledged,
            undelivered: stream.undelivered, sendWindow: stream.sendWindow, receiveWindow: stream.receiveWindow)
    }

    private func seconds(since start: UInt64) -> Double { Double(loop.now - start) / 1e9 }

    private static func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e6 }
}
