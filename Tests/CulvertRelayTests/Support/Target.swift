import CulvertIO
import Foundation
import Synchronization

/// What a service leads to: listens, and serves each connection on a thread of its own. Gone with its object.
final class Target: Sendable {
    let endpoint: Endpoint
    private let listener: PlainSocket
    /// Connections accepted so far.
    private let counter: Counter

    var accepted: Int { counter.value }

    /// - Parameter serve: what it throws ends the connection and is nobody's concern.
    init(
        at endpoint: Endpoint = PlainSocket.anyPort, _ serve: @escaping @Sendable (PlainSocket) throws -> Void
    ) throws {
        let listener = try PlainSocket.listen(endpoint), counter = Counter()
        self.listener = listener
        self.counter = counter
        if case .tcp = endpoint { self.endpoint = listener.endpoint } else { self.endpoint = endpoint }
        Thread.detachNewThread {
            while let connection = listener.acceptOrStop() {
                counter.add()
                Thread.detachNewThread { try? serve(connection) }
            }
        }
    }

    deinit { listener.stop() }

    /// Says back what it hears, and ends when the other end has.
    static func echo(at endpoint: Endpoint = PlainSocket.anyPort) throws -> Target {
        try Target(at: endpoint) { connection in
            while case let piece = try connection.read(256 << 10), !piece.isEmpty { try connection.write(piece) }
            connection.finishWriting()
        }
    }
}

final class Counter: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func add(_ number: Int = 1) { count.wrappingAdd(number, ordering: .relaxed) }
}
