import FlyingFox
import FlyingSocks
import Foundation
import Glibc
import Logging

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
    private let service: HTTPService

    /// - Parameter runtimeDirectory: where sockets go whose place the relay chooses.
    public init(path: String, control: any RelayControl, runtimeDirectory: String, logger: Logger) {
        self.path = path
        let routes = AdminRoutes(control: control, runtimeDirectory: runtimeDirectory)
        service = HTTPService("admin interface", logger: logger) { () throws(DaemonError) in
            try await Self.open(path, routes)
        }
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
        try await service.start()
    }

    public func stop() async { await service.stop { unlink(path) } }

    /// Binds beside the path, sets the mode, then renames: nobody sees the socket with another mode, and at no moment is
    /// there a path without a listener behind it.
    private static func open(_ path: String, _ routes: AdminRoutes) async throws(DaemonError) -> HTTPService.Running {
        let temporary = path + temporarySuffix
        unlink(temporary)
        let server = HTTPServer(
            config: .init(address: sockaddr_un.unix(path: temporary), logger: .disabled),
            handler: HTTPAdapter(routes: routes))
        let running = try await HTTPService.run(server, failing: "make the admin socket \(path)")
        guard chmod(temporary, socketMode) == 0, rename(temporary, path) == 0 else {
            let error = SystemError("make the admin socket \(path)")
            unlink(temporary)
            running.cancel()
            throw DaemonError("cannot \(error)")
        }
        return running
    }
}

/// Carries requests from the HTTP library to the routes and answers back.
struct HTTPAdapter: HTTPHandler {
    let routes: AdminRoutes
    /// The one path that is answered; nil: all that there are.
    var only: String?

    func handleRequest(_ request: HTTPRequest) async throws -> HTTPResponse {
        let response = only == nil || request.path == only
            ? await routes.respond(method: request.method.rawValue, path: request.path) { try await body(of: request) }
            : .failure(404, "there is no \(request.path)")
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
