/// One stream of the traffic, while it is on its way and afterwards.
final class TrafficStream {
    private let number: Int
    let plan: StreamPlan
    let client: TrafficEnd
    /// Nil until it was accepted; for ever, if the client left early.
    private(set) var server: TrafficEnd?

    init(_ number: Int, _ plan: StreamPlan, _ socket: PlainSocket, _ pattern: Pattern) {
        self.number = number
        self.plan = plan
        client = TrafficEnd(
            "client \(number)", socket, plan.client, pattern, says: plan.keys.up, hears: plan.keys.down)
    }

    /// It came out at the far side.
    func accepted(_ socket: PlainSocket, _ pattern: Pattern) {
        server = TrafficEnd(
            "server \(number)", socket, plan.server, pattern, says: plan.keys.down, hears: plan.keys.up)
        client.isHeld = false
    }

    var isOver: Bool { client.isOver && (server?.isOver ?? client.hasQuit) }
}

extension TrafficStream: CustomStringConvertible {
    var description: String { "\(client); \(server.map(String.init(describing:)) ?? "the server never saw it")" }
}
