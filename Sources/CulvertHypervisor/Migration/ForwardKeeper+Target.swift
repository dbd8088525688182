import CulvertIO
import Foundation

/// What the far relay says of its services.
extension ForwardKeeper {
    /// For the far relay to answer.
    private static let targetLimit = Duration.seconds(15)

    private struct Target: Decodable { let target: String }

    /// Asks a peer's relay where one of its services leads, for example `unix:/run/culvert/migrate/web1.sock`: its built-in
    /// service `culvert/target/SERVICE` says so in one line.
    func target(of service: String, at peer: String) async throws(TunnelError) -> String {
        let forward = try await open(to: "\(peer)/culvert/target/\(service)")
        guard case .unix(let path) = forward.address else { preconditionFailure("the tunnel was not told to use TCP") }
        let line = await Self.firstLine(from: path, within: Self.targetLimit)
        let answer = line.flatMap { try? JSONDecoder().decode(Target.self, from: $0) }
        let reset = answer == nil ? await outcomes(of: forward).lastReset : nil
        await close(forward)
        if let answer { return answer.target }
        let reason = reset.map { ": \($0.text)" } ?? "; its log may say why"
        throw TunnelError("\(peer)'s relay does not tell where '\(service)' leads\(reason)", reset: reset)
    }

    /// How the streams of a forward ended, which the relay may know a moment after its socket has closed.
    func outcomes(of forward: TunnelForward) async -> [TunnelOutcome] {
        for _ in 0..<20 {
            if let outcomes = try? await tunnel.outcomes(of: forward), !outcomes.isEmpty { return outcomes }
            try? await Task.sleep(for: .milliseconds(50))
        }
        return []
    }

    /// Sends a stream without any bytes through it, and waits until it has ended.
    func touch(_ forward: TunnelForward) async {
        guard case .unix(let path) = forward.address else { return }
        _ = await Self.firstLine(from: path, within: .seconds(2))
    }

    private static func firstLine(from path: String, within limit: Duration) async -> Data? {
        let (inputs, continuation) = AsyncStream.makeStream(of: LineSocket.Input.self)
        let socket = LineSocket(path: path, patience: limit) { continuation.yield($0) }
        let timer = Task {
            try await Task.sleep(for: limit)
            continuation.finish()
        }
        defer {
            timer.cancel()
            socket.shutdown()
        }
        for await input in inputs {
            if case .line(let line) = input { return line }
            return nil
        }
        return nil
    }
}
