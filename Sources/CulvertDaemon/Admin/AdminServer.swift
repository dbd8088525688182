import FlyingFox
import FlyingSocks
import Foundation
import Glibc
import Logging
import Synchronization

/// Why the daemon cannot do its work; the text names the thing, the cause and the next step.
public struct DaemonError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// The admin interface: HTTP on a UNIX socket.
public final class AdminServer: Sendable {
    /// Owner and group may use the relay's admin interface.
    static let socketMode: mode_t = 0o660
    /// Largest request body taken; every valid one is far smaller.
    static let largestBody = 64 << 10
    private static let temporarySuffix = ".new"
    /// The socket is made beside its place, so its path has that much less room.
    static let longestPath = 107 - temporarySuffix.utf8.count

    private let path: String
    private let routes: AdminRoutes
    private let logger: Logger
    private let serving = Mutex<Task<Void, Never>?>(nil)

    /// - Parameter runtimeDirectory: where sockets go whose place the relay chooses.
    public init(path: String, control: any RelayControl, runtimeDirectory: String, logger: Logger) {
        self.path = path
        self.logger = logger
        routes = AdminRoutes(control: control, runtimeDirectory: runtimeDirectory)
    }

    /// Fails if another relay answers at the path, or something that is no socket is there.
    public static func checkFree(_ path: String) throws(DaemonError) {
        switch UnixSocket.occupant(of: path) {
        case .nothing, .stale: break
        case .live:
            throw DaemonError(
                "another relay answers at \(path); stop it, or give this one its own relay.admin")
        case .other(let reason):
            throw DaemonError(
                "cannot make the admin socket \(path): \(reason); remove it, or choose another relay.admin")
        }
    }

    /// Returns once the socket is there; replaces a stale one.
    public func start() async throws(DaemonError) {
        try Self.checkFree(path)
        let first = try await open()
        let task = Task { [self] in await keepServing(first) }
        serving.withLock { $0 = task }
    }

    public func stop() async {
        let task = serving.withLock { task in
            defer { task = nil }
            return task
        }
        guard let task else { return }
        unlink(path)
        task.cancel()
        await task.value
    }

    /// The HTTP server gives up when it cannot accept a connection, for want of descriptors for example; the relay must
    /// not lose its admin interface by that.
    private func keepServing(_ first: Task<Void, any Error>) async {
        var running = first
        while true {
            let result = await withTaskCancellationHandler {
                await running.result
            } onCancel: { [running] in
                running.cancel()
            }
            if Task.isCancelled { return }
            if case .failure(let error) = result {
                logger.error("admin interface starts again", metadata: ["error": "\(error.localizedDescription)"])
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

    /// Binds beside the path, sets the mode, then renames: nobody sees the socket with another mode, and at no moment is
    /// there a path without a listener behind it.
    private func open() async throws(DaemonError) -> Task<Void, any Error> {
        let temporary = path + Self.temporarySuffix
        unlink(temporary)
        let server = HTTPServer(
            config: .init(address: sockaddr_un.unix(path: temporary), logger: .disabled),
            handler: HTTPAdapter(routes: routes))
        let running = Task { try await server.run() }
        let waiting = Task { try await server.waitUntilListening(timeout: 10) }
        Task {
            _ = await running.result
            waiting.cancel()
        }
        do {
            try await waiting.value
        } catch {
            running.cancel()
            var cause = error
            if case .failure(let failure) = await running.result { cause = failure }
            throw DaemonError("cannot make the admin socket \(path): \(cause.localizedDescription)")
        }
        guard chmod(temporary, Self.socketMode) == 0, rename(temporary, path) == 0 else {
            let error = SystemError("make the admin socket \(path)")
            unlink(temporary)
            running.cancel()
            throw DaemonError("cannot \(error)")
        }
        return running
    }
}

/// Carries requests from the HTTP library to the routes and answers back.
private struct HTTPAdapter: HTTPHandler {
    let routes: AdminRoutes

    func handleRequest(_ request: HTTPRequest) async throws -> HTTPResponse {
        let response = await routes.respond(method: request.method.rawValue, path: request.path) {
            try await body(of: request)
        }
        var headers: HTTPHeaders = [.contentType: response.contentType]
        headers[HTTPHeader("Allow")] = response.allow
        return HTTPResponse(
            statusCode: HTTPStatusCode(response.status, phrase: Self.phrase(response.status)), headers: headers,
            body: response.body)
    }

    private func body(of request: HTTPRequest) async throws -> Data {
        let tooLarge = AdminRoutes.RequestFault(
            status: 413, text: "the body is larger than \(AdminServer.largestBody) bytes")
        if let count = request.bodySequence.count, count > AdminServer.largestBody { throw tooLarge }
        var body = Data()
        for try await chunk in request.bodySequence {
            body += chunk
            if body.count > AdminServer.largestBody { throw tooLarge }
        }
        return body
    }

    private static func phrase(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 201: "Created"
        case 204: "No Content"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 409: "Conflict"
        case 413: "Payload Too Large"
        default: "Internal Server Error"
        }
    }
}
