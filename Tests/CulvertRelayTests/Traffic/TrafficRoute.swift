import CulvertIO

/// A way through the relays: clients connect to `near`, and come out at `listener`.
struct TrafficRoute {
    let near: Endpoint
    let listener: PlainSocket
    /// Clients say which stream they are; else there is one stream at a time, and its client says nothing before it was
    /// accepted.
    let identifies: Bool
    let isFarTCP: Bool

    init(near: Endpoint, far: Endpoint, listener: PlainSocket, identifies: Bool) {
        self.near = near
        self.listener = listener
        self.identifies = identifies
        isFarTCP = far.isTCP
        listener.isNonBlocking = true
    }
}

/// A route before there are relays.
struct RouteSketch {
    let name: String
    let target: Endpoint
    let listener: PlainSocket
    let identifies: Bool

    /// UNIX and TCP sockets at either end, from either side, with clients that say who they are and ones that wait.
    static func everyKind(in setup: inout PairSetup) throws -> [RouteSketch] {
        var sketches: [RouteSketch] = []
        for side in Side.allCases {
            for kind in 0..<8 {
                let name = "\(side)\(kind)", isNearTCP = kind & 1 != 0, isFarTCP = kind & 2 != 0
                let listener = try PlainSocket.listen(isFarTCP ? PlainSocket.anyPort : setup.directory.socket("to-\(name)"))
                let target = isFarTCP ? listener.endpoint : setup.directory.socket("to-\(name)")
                setup.route(name, to: target, from: side, near: isNearTCP ? PlainSocket.anyPort : nil)
                sketches.append(RouteSketch(name: name, target: target, listener: listener, identifies: kind & 4 == 0))
            }
        }
        return sketches
    }

    func route(through pair: RelayPair) -> TrafficRoute {
        TrafficRoute(near: pair.endpoint(name), far: target, listener: listener, identifies: identifies)
    }
}

extension Endpoint {
    var isTCP: Bool { if case .tcp = self { true } else { false } }
}
