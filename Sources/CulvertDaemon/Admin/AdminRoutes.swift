import CulvertIO
import CulvertRelay
import Foundation

/// What the admin interface answers, without the HTTP around it. `docs/ADMIN.md` is its reference.
struct AdminRoutes: Sendable {
    let control: any RelayControl
    /// For sockets whose place the relay chooses.
    let runtimeDirectory: String

    struct Response: Equatable {
        var status: Int
        var contentType = "application/json"
        var body = Data()
        /// For 405: the methods that would do.
        var allow: String?

        static func json(_ value: some Encodable, status: Int = 200) -> Response {
            // Fails only for values that JSON cannot express, and none of ours holds such.
            Response(status: status, body: try! AdminJSON.encoder.encode(value) + Data("\n".utf8))
        }

        static func failure(_ status: Int, _ text: String) -> Response {
            .json(AdminFailure(error: text), status: status)
        }
    }

    /// - Parameter body: gives the request's body; called only where one is used.
    func respond(method: String, path: String, body: @escaping () async throws -> Data) async -> Response {
        let parts = path.split(separator: "/").map(String.init)
        let handlers: [(method: String, handler: () async throws -> Response)]
        switch parts.count {
        case 1 where parts[0] == "metrics":
            handlers = [("GET", metrics)]
        case 2 where parts == ["v1", "status"]:
            handlers = [("GET", { .json(await control.status()) })]
        case 2 where parts == ["v1", "forwards"]:
            handlers = [
                ("GET", { .json(await control.status().forwards) }),
                ("POST", { try await addForward(body()) }),
            ]
        case 3 where parts[..<2] == ["v1", "forwards"]:
            handlers = [
                ("GET", { try await .json(forward(parts[2])) }),
                ("DELETE", { try await removeForward(parts[2]) }),
            ]
        case 4 where parts[..<2] == ["v1", "forwards"] && parts[3] == "renew":
            handlers = [("POST", { try await renewForward(parts[2]) })]
        default:
            return .failure(404, "there is no \(path)")
        }
        guard let handler = handlers.first(where: { $0.method == method })?.handler else {
            let methods = handlers.map(\.method).joined(separator: ", ")
            var response = Response.failure(405, "\(path) takes \(methods), not \(method)")
            response.allow = methods
            return response
        }
        do {
            return try await handler()
        } catch let fault as ForwardRequest.Fault {
            return .failure(400, fault.description)
        } catch let fault as RequestFault {
            return .failure(fault.status, fault.text)
        } catch let error as RelayError {
            return .failure(409, error.description)
        } catch {
            return .failure(500, "\(error)")
        }
    }

    /// A request that cannot be served, with the status that says so.
    struct RequestFault: Error {
        var status: Int
        var text: String
    }

    private func metrics() async -> Response {
        Response(
            status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8",
            body: Data(Metrics.text(await control.status()).utf8))
    }

    private func forward(_ id: String) async throws(RequestFault) -> ForwardStatus {
        guard let forward = await control.status().forwards.first(where: { $0.id == id }) else {
            throw RequestFault(status: 404, text: "there is no forward '\(id)'")
        }
        return forward
    }

    private func addForward(_ body: Data) async throws -> Response {
        let settings = try ForwardRequest(json: body).settings(choosePath: choosePath)
        if case .unix(let path) = settings.listen {
            do throws(SystemError) {
                try FilePath.makeDirectory(FilePath.directory(of: path))
            } catch {
                throw RequestFault(status: 409, text: "cannot listen on \(settings.listen): \(error)")
            }
        }
        return .json(try await control.addForward(settings), status: 201)
    }

    private func choosePath() -> String {
        "\(runtimeDirectory)/once-\(String(UInt64.random(in: .min ... .max), radix: 36)).sock"
    }

    private func removeForward(_ id: String) async throws -> Response {
        _ = try await forward(id)
        try await control.removeForward(id)
        return Response(status: 204)
    }

    private func renewForward(_ id: String) async throws -> Response {
        _ = try await forward(id)
        return .json(try await control.renewForward(id))
    }
}

/// Body of every answer that is not a success.
struct AdminFailure: Codable {
    var error: String
}

enum AdminJSON {
    static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}
