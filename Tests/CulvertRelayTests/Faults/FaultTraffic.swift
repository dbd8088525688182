import CulvertIO
import Glibc

/// One connection over each of several routes, both ends of all driven on one thread. Any of them may be cut at any time,
/// also before it comes out at its far side.
struct FaultTraffic {
    struct Stream {
        let route: Int
        let plan: StreamPlan
        let client: TrafficEnd
        fileprivate(set) var server: TrafficEnd?
    }

    private let routes: [TrafficRoute]
    private let pattern: Pattern
    private(set) var streams: [Stream] = []
    /// Came out, and have not said yet which stream they are.
    private var strangers: [Stranger] = []

    private struct Stranger {
        let route: Int
        let socket: PlainSocket
        var said: [UInt8] = []
    }

    init(_ plans: [StreamPlan], over routes: [TrafficRoute], pattern: Pattern) throws {
        self.routes = routes
        self.pattern = pattern
        for plan in plans {
            let socket = try PlainSocket.connect(routes[plan.route].near)
            // It may have been closed already.
            try? socket.write(big(plan.keys.up))
            let client = TrafficEnd(
                "client \(plan.route)", socket, plan.client, pattern, says: plan.keys.up, hears: plan.keys.down)
            streams.append(Stream(route: plan.route, plan: plan, client: client))
        }
    }

    /// Works until no end that is known has anything to do; an error if that takes longer than the limit.
    /// - Parameter meanwhile: called every 10 ms or so.
    mutating func run(within limit: Duration, meanwhile: () -> Void = {}) throws {
        let deadline = ContinuousClock.now + limit
        try acceptAll()
        while !strangers.isEmpty || streams.contains(where: { !$0.client.isOver || $0.server?.isOver == false }) {
            meanwhile()
            guard ContinuousClock.now < deadline else {
                throw Failure("it hangs:\n" + streams.map { "\($0)" }.joined(separator: "\n"))
            }
            let ends = streams.flatMap { [$0.client, $0.server].compactMap { $0 } }.filter { $0.interest != 0 }
            var polled = (routes.map(\.listener) + strangers.map(\.socket)).map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            polled += ends.map { pollfd(fd: $0.socket.descriptor, events: Int16($0.interest), revents: 0) }
            guard poll(&polled, nfds_t(polled.count), 10) > 0 else { continue }
            for (end, polled) in zip(ends, polled.suffix(ends.count)) where polled.revents != 0 { end.work(CInt(polled.revents)) }
            try acceptAll()
        }
    }

    private mutating func acceptAll() throws {
        for route in routes.indices {
            while let socket = try accept(route) { strangers.append(Stranger(route: route, socket: socket)) }
        }
        for var stranger in exchange(&strangers, with: []) {
            do {
                let piece = try stranger.socket.read(8 - stranger.said.count)
                stranger.said += piece
                if stranger.said.count == 8 { try serve(stranger) } else if !piece.isEmpty { strangers.append(stranger) }
            } catch let failure as Failure where failure.code == EAGAIN {
                strangers.append(stranger)
            } catch let failure as Failure where failure.code != 0 {
                // Cut before it could say who it is.
            }
        }
    }

    private mutating func serve(_ stranger: Stranger) throws {
        let name = UInt64(bigEndian: stranger.said.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) })
        // One of an earlier seed may come out after both its ends are gone.
        guard let index = streams.firstIndex(where: { $0.plan.keys.up == name }) else { return }
        let plan = streams[index].plan
        guard plan.route == stranger.route, streams[index].server == nil else {
            throw Failure("\(streams[index]) came out twice, or of route \(stranger.route)")
        }
        streams[index].server = TrafficEnd(
            "server \(plan.route)", stranger.socket, plan.server, pattern, says: plan.keys.down, hears: plan.keys.up)
    }

    private func accept(_ route: Int) throws -> PlainSocket? {
        do {
            let socket = try routes[route].listener.accept()
            socket.isNonBlocking = true
            return socket
        } catch let failure as Failure where failure.code == EAGAIN {
            return nil
        }
    }
}

extension FaultTraffic.Stream: CustomStringConvertible {
    var description: String { "\(client); \(server.map(String.init(describing:)) ?? "the server never saw it")" }
}
