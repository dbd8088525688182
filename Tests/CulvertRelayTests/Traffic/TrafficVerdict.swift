import CulvertIO

/// What is wrong with how a stream went.
struct TrafficVerdict {
    private(set) var faults: [String] = []
    /// An end stopped hearing before it had heard all that the other end said.
    private(set) var isCut = false

    init(_ stream: TrafficStream, _ route: TrafficRoute) {
        let client = stream.client, server = stream.server
        judge(client, hearing: server, isTCP: route.near.isTCP)
        if let server { judge(server, hearing: client, isTCP: route.isFarTCP) }
        if !stream.plan.hasQuitter {
            let isWhole = [(client, server), (server, client)].allSatisfy { end, other in
                end?.silence == 0 && end?.hearing == .ended && end?.heard == other?.said
            }
            if !isWhole { faults.append("nobody quit, and yet: \(stream)") }
        }
    }

    private mutating func judge(_ end: TrafficEnd, hearing other: TrafficEnd?, isTCP: Bool) {
        if end.corrupted != nil || end.heard > (other?.said ?? 0) { faults.append("\(end)") }
        guard !end.hasQuit, end.heard < (other?.said ?? 0) || other == nil else { return }
        isCut = true
        // On a UNIX socket the end of a connection that broke looks like any other.
        if isTCP, end.hearing == .ended { faults.append("cut, and it looks whole: \(end)") }
    }
}

/// How all streams of a run went.
struct TrafficReport: CustomStringConvertible {
    let faults: [String]
    let cut: Int
    private let streams: Int
    private let bytes: Int

    init(_ streams: some Collection<TrafficStream>, _ routes: [TrafficRoute]) {
        let verdicts = streams.map { TrafficVerdict($0, routes[$0.plan.route]) }
        faults = verdicts.flatMap(\.faults)
        cut = verdicts.count(where: \.isCut)
        self.streams = streams.count
        bytes = streams.reduce(0) { $0 + $1.client.heard + ($1.server?.heard ?? 0) }
    }

    var description: String { "\(streams) streams, \(bytes >> 20) MiB, \(cut) cut" }
}
