import CulvertIO
import FlyingFox
import FlyingSocks
import Foundation
import Glibc
import Logging

/// The metrics alone, over TCP, for a Prometheus that reads no UNIX socket. Nothing can be changed here, and nobody is asked
/// who he is.
public final class MetricsServer: Sendable {
    private let service: HTTPService

    /// - Parameter address: a numeric one.
    public init(address: Endpoint, control: any RelayControl, logger: Logger) {
        let routes = AdminRoutes(control: control, runtimeDirectory: "")
        service = HTTPService("metrics", logger: logger) { () throws(DaemonError) in
            let config: HTTPServer.Configuration
            do {
                config = try Self.configuration(address)
            } catch {
                throw DaemonError("cannot listen on \(address.address), which is relay.metrics: \(error)")
            }
            let server = HTTPServer(config: config, handler: HTTPAdapter(routes: routes, only: "/metrics"))
            let running = try await HTTPService.run(server, failing: "listen on \(address.address), which is relay.metrics")
            let place = await server.place ?? address.address
            logger.info("metrics can be read", metadata: ["url": "http://\(place)/metrics"])
            return running
        }
    }

    public func start() async throws(DaemonError) { try await service.start() }
    public func stop() async { await service.stop() }

    private static func configuration(_ address: Endpoint) throws -> HTTPServer.Configuration {
        guard case .tcp(let host, let port) = address else { preconditionFailure("metrics go over TCP") }
        return host.contains(":")
            ? .init(address: try sockaddr_in6.inet6(ip6: host, port: port), logger: .disabled)
            : .init(address: try sockaddr_in.inet(ip4: host, port: port), logger: .disabled)
    }
}

extension HTTPServer {
    /// Where it listens, with the real port.
    fileprivate var place: String? {
        switch listeningAddress {
        case .ip4(let host, let port)?: "\(host):\(port)"
        case .ip6(let host, let port)?: "[\(host)]:\(port)"
        case .unix?, nil: nil
        }
    }
}
