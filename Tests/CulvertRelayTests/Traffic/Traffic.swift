import CulvertIO
import Glibc

/// Drives both ends of many streams at once, on one thread.
struct Traffic {
    /// Milliseconds in which something must happen.
    private static let patience: CInt = 60_000

    private let routes: [TrafficRoute]
    private let pattern: Pattern
    /// By route, the next one last.
    private var pending: [[Int]]
    private let plans: [StreamPlan]
    private(set) var streams: [Int: TrafficStream] = [:]
    private var live: [TrafficStream] = []
    /// Accepted, and not known yet which stream it is.
    private var strangers: [PlainSocket] = []

    init(_ plans: [StreamPlan], over routes: [TrafficRoute], pattern: Pattern) {
        self.plans = plans
        self.routes = routes
        self.pattern = pattern
        pending = routes.map { _ in [] }
        for (number, plan) in plans.enumerated().reversed() { pending[plan.route].append(number) }
    }

    /// Runs all streams, `atOnce` of them at a time, until no client is left.
    mutating func run(atOnce: Int) throws {
        while try start(atOnce: atOnce) || !live.isEmpty { try turn() }
    }

    /// Serves connections that come out late, after their clients have left. Nothing new may be on its way.
    mutating func finish() throws {
        for route in routes.indices { try accept(route) }
        while !strangers.isEmpty || !live.isEmpty { try turn() }
    }

    // MARK: Starting

    /// - Returns: false if there is nothing left to start.
    private mutating func start(atOnce: Int) throws -> Bool {
        for route in routes.indices where live.count < atOnce {
            guard let number = pending[route].last, routes[route].identifies || !live.contains(where: { $0.plan.route == route }) else { continue }
            pending[route].removeLast()
            try start(number)
        }
        return pending.contains { !$0.isEmpty }
    }

    private mutating func start(_ number: Int) throws {
        let plan = plans[number], route = routes[plan.route]
        let socket = try PlainSocket.connect(route.near)
        if route.identifies { try socket.write(withUnsafeBytes(of: number.bigEndian) { Array($0) }) }
        let stream = TrafficStream(number, plan, socket, pattern)
        stream.client.isHeld = !route.identifies
        streams[number] = stream
        live.append(stream)
    }

    // MARK: Working

    private mutating func turn() throws {
        let waiting = live.flatMap { [$0.client, $0.server].compactMap { $0 } }.filter { $0.interest != 0 }
        var polled = routes.map(\.listener.descriptor).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        polled += strangers.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        polled += waiting.map { pollfd(fd: $0.socket.descriptor, events: Int16($0.interest), revents: 0) }
        guard poll(&polled, nfds_t(polled.count), Self.patience) > 0 else {
            throw Failure("nothing goes on; left are:\n" + live.map(\.description).joined(separator: "\n"))
        }
        let events = polled.map { CInt($0.revents) }
        let identifying = strangers
        for (end, event) in zip(waiting, events[(routes.count + identifying.count)...]) where event != 0 { end.work(event) }
        for (stranger, event) in zip(identifying, events[routes.count...]) where event != 0 { identify(stranger) }
        for route in routes.indices where events[route] != 0 { try accept(route) }
        live.removeAll(where: \.isOver)
    }

    private mutating func accept(_ route: Int) throws {
        do {
            while true {
                let socket = try routes[route].listener.accept()
                if routes[route].identifies {
                    strangers.append(socket)
                } else if let stream = live.first(where: { $0.plan.route == route && $0.server == nil }) {
                    serve(stream, socket)
                } else {
                    throw Failure("a connection nobody made came out of \(routes[route].near)")
                }
            }
        } catch let failure as Failure where failure.code == EAGAIN {}
    }

    private mutating func identify(_ socket: PlainSocket) {
        strangers.removeAll { $0 === socket }
        guard let name = try? socket.read(exactly: 8) else { return }
        serve(streams[Int(bigEndian: name.withUnsafeBytes { $0.loadUnaligned(as: Int.self) })]!, socket)
    }

    private mutating func serve(_ stream: TrafficStream, _ socket: PlainSocket) {
        if stream.isOver { live.append(stream) }
        stream.accepted(socket, pattern)
    }
}
