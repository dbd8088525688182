import BenchSockets
import enum CulvertIO.Endpoint
import Foundation
import Synchronization

/// The far end: takes bytes, gives them back, counts them.
public final class BenchServer: Sendable {
    /// Each has a thread, so there is a bound.
    static let mostConnections = 1024
    /// Those of them that are left to round trips beside the streams and to what is just ending.
    static let spareConnections = 24

    private let listener: Listener
    private let connections = Atomic<Int>(0)
    private let stopped = Atomic<Bool>(false)

    public var endpoint: Endpoint { listener.endpoint }

    /// Listens from now on.
    public init(on endpoint: Endpoint) throws { listener = try Listener(on: endpoint) }

    /// Serves until `stop`.
    public func run() throws {
        while true {
            let served: Served
            do throws(SocketError) {
                served = Served(try listener.accept())
            } catch {
                if stopped.load(ordering: .acquiring) { return }
                throw error
            }
            guard connections.load(ordering: .relaxed) < Self.mostConnections else { continue }
            connections.add(1, ordering: .relaxed)
            Thread.detachNewThread { [self] in
                // A stream that breaks is reported by its near end.
                try? served.serve()
                connections.subtract(1, ordering: .relaxed)
            }
        }
    }

    public func stop() {
        stopped.store(true, ordering: .releasing)
        listener.stop()
    }
}

/// One connection of the far end.
private final class Served: Sendable {
    private let socket: Socket

    init(_ socket: consuming Socket) {
        self.socket = socket
        self.socket.limitWaits(seconds: Connection.patience)
    }

    func serve() throws {
        let head = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchRequest.length, alignment: 8)
        defer { head.deallocate() }
        guard try socket.receiveWhole(head), let request = BenchRequest(head) else { return }
        switch request {
        case .count: try consume(digesting: false)
        case .digest: try consume(digesting: true)
        case .echo: try echo()
        case .processorTime:
            let used = socket.peerProcess.flatMap(Clock.cpu(of:)) ?? 0
            try answer(BenchAnswer(count: UInt64(used * 1e9)))
        }
    }

    private func consume(digesting: Bool) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchSize.block, alignment: 4096)
        defer { buffer.deallocate() }
        var digest = Digest()
        var received = 0
        while case let count = try socket.receive(into: buffer), count > 0 {
            if digesting { digest.add(UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
            received += count
        }
        try answer(BenchAnswer(count: UInt64(received), detail: digesting ? digest.value : 0))
    }

    private func echo() throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchSize.echo, alignment: 8)
        defer { buffer.deallocate() }
        while try socket.receiveWhole(buffer) { try socket.send(UnsafeRawBufferPointer(buffer)) }
    }

    private func answer(_ answer: BenchAnswer) throws {
        try answer.bytes.withUnsafeBytes { try socket.send($0) }
    }
}
