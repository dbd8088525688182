import FlyingFox
import FlyingSocks
import Logging
import Synchronization

/// An HTTP server that goes on. The library's gives up when it cannot accept a connection, for want of descriptors for
/// example; the relay must not lose its interfaces by that.
final class HTTPService: Sendable {
    typealias Running = Task<Void, any Error>

    private let name: String
    private let logger: Logger
    private let open: @Sendable () async throws(DaemonError) -> Running
    private let serving = Mutex<Task<Void, Never>?>(nil)

    /// - Parameters:
    ///   - name: for people.
    ///   - open: makes a server that listens.
    init(_ name: String, logger: Logger, open: @escaping @Sendable () async throws(DaemonError) -> Running) {
        self.name = name
        self.logger = logger
        self.open = open
    }

    /// Returns once somebody listens.
    func start() async throws(DaemonError) {
        let first = try await open()
        let task = Task { [self] in await keepServing(first) }
        serving.withLock { $0 = task }
    }

    /// - Parameter before: what is done before nobody listens any more.
    func stop(_ before: () -> Void = {}) async {
        let task = serving.withLock { $0.take() }
        guard let task else { return }
        before()
        task.cancel()
        await task.value
    }

    private func keepServing(_ first: Running) async {
        var running = first
        while true {
            let result = await withTaskCancellationHandler {
                await running.result
            } onCancel: { [running] in
                running.cancel()
            }
            if Task.isCancelled { return }
            if case .failure(let error) = result {
                logger.error("\(name) starts again", metadata: ["error": "\(error.localizedDescription)"])
            }
            repeat {
                try? await Task.sleep(for: .seconds(1))
                if Task.isCancelled { return }
                guard let next = try? await open() else { continue }
                running = next
                break
            } while true
        }
    }

    /// Returns once `server` listens.
    /// - Parameter operation: for the error, which says that this cannot be done.
    static func run(_ server: HTTPServer, failing operation: String) async throws(DaemonError) -> Running {
        let running = Task { try await server.run() }
        let waiting = Task { try await server.waitUntilListening(timeout: 10) }
        Task {
            _ = await running.result
            waiting.cancel()
        }
        do {
            try await waiting.value
            return running
        } catch {
            running.cancel()
            var cause = error
            if case .failure(let failure) = await running.result { cause = failure }
            if case SocketError.failed(_, _, let reason) = cause { throw DaemonError("cannot \(operation): \(reason)") }
            throw DaemonError("cannot \(operation): \(cause.localizedDescription)")
        }
    }
}
