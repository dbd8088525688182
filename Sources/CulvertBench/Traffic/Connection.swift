import BenchSockets
import CulvertDaemon
import CulvertIO
import Foundation

/// One stream to the far end of the benchmark.
final class Connection: Sendable {
    /// Longest time in which nothing moves.
    static let patience = 60

    let socket: Socket

    init(to endpoint: Endpoint, _ request: BenchRequest) throws {
        socket = try Socket(to: endpoint)
        socket.limitWaits(seconds: Self.patience)
        try request.bytes.withUnsafeBytes { try socket.send($0) }
    }

    /// Waits for the far end to have done what it was asked for.
    func answer() throws -> BenchAnswer {
        try withUnsafeTemporaryAllocation(byteCount: BenchAnswer.length, alignment: 8) { buffer in
            guard try socket.receiveWhole(buffer) else {
                throw BenchError("the stream broke off before the far end answered; is 'culvert bench serve' behind it?")
            }
            return BenchAnswer(UnsafeRawBufferPointer(buffer))
        }
    }
}

/// The way to the far end.
protocol Route: Sendable {
    func connect(_ request: BenchRequest) throws -> Connection
}

/// A forward's socket.
struct SocketRoute: Route {
    let path: String

    func connect(_ request: BenchRequest) throws -> Connection { try Connection(to: .unix(path: path), request) }
}

/// A running relay, asked for each connection alone, so that nothing has to be taken away afterwards.
struct PeerRoute: Route {
    let service: String
    let admin: AdminClient

    /// Why the relay has reset the last stream to the service that did not end well; nil if it has not, in a second or so.
    var lastReset: String? {
        for _ in 0..<10 {
            let ended = (try? admin.forwards().filter { $0.to == service }.compactMap(\.ended.last)) ?? []
            if let reset = ended.filter({ $0.reset != nil }).max(by: { $0.time < $1.time })?.reset { return reset.text }
            Thread.sleep(forTimeInterval: 0.1)
        }
        return nil
    }

    func connect(_ request: BenchRequest) throws -> Connection {
        var forward = ForwardRequest(to: service)
        forward.once = true
        forward.lease = "30s"
        let opened = try admin.addForward(forward)
        do {
            return try Connection(to: Endpoint(opened.listen), request)
        } catch {
            try? admin.removeForward(id: opened.id)
            throw error
        }
    }
}
