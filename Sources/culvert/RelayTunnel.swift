import CulvertDaemon
import CulvertHypervisor
import CulvertIO
import CulvertRelay
import Dispatch

/// The tunnel through the local relay, whose admin interface opens its forwards.
struct RelayTunnel: Tunnel {
    private let admin: AdminClient
    /// The admin client blocks, so it has threads of its own.
    private let queue = DispatchQueue(label: "culvert.admin", attributes: .concurrent)

    private let owner: String?
    private let group: String?

    /// `owner` and `group` get the sockets that this migration's programs connect to.
    init(admin: AdminClient, owner: String?, group: String?) {
        self.admin = admin
        self.owner = owner
        self.group = group
    }

    func open(to service: String, listen: Endpoint?, lease: Duration) async throws(TunnelError) -> TunnelForward {
        let address = listen ?? freshSocket
        var request = ForwardRequest(to: service, listen: address.description)
        request.lease = "\(lease.components.seconds)s"
        if case .unix = address {
            request.mode = "0660"
            request.owner = owner
            request.group = group
        }
        let status = try await ask { [request] admin throws(AdminClientError) in try admin.addForward(request) }
        do throws(EndpointError) {
            return TunnelForward(id: status.id, address: try Endpoint(status.listen))
        } catch {
            throw TunnelError("the relay opened a forward at an address that cannot be understood: \(error)")
        }
    }

    func existing(to service: String, listen: Endpoint) async throws(TunnelError) -> TunnelForward? {
        let forwards = try await ask { admin throws(AdminClientError) in try admin.forwards() }
        return forwards.first { $0.to == service && $0.listen == listen.description }
            .map { TunnelForward(id: $0.id, address: listen) }
    }

    func renew(_ forward: TunnelForward) async throws(TunnelError) {
        _ = try await ask { admin throws(AdminClientError) in try admin.renewForward(id: forward.id) }
    }

    func close(_ forward: TunnelForward) async throws(TunnelError) {
        try await ask { admin throws(AdminClientError) in try admin.removeForward(id: forward.id) }
    }

    func outcomes(of forward: TunnelForward) async throws(TunnelError) -> [TunnelOutcome] {
        let status = try await ask { admin throws(AdminClientError) in try admin.forward(id: forward.id) }
        return status.ended.map(TunnelOutcome.init)
    }

    /// Next to the admin socket, where who may talk to the relay can connect.
    private var freshSocket: Endpoint {
        let directory = admin.path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        return .unix(path: "\(directory)/migration-\(String(UInt32.random(in: 0 ... .max), radix: 16)).sock")
    }

    private func ask<Answer: Sendable>(
        _ question: @escaping @Sendable (AdminClient) throws(AdminClientError) -> Answer
    ) async throws(TunnelError) -> Answer {
        let answer = await withCheckedContinuation { (waiter: CheckedContinuation<Result<Answer, AdminClientError>, Never>) in
            queue.async {
                waiter.resume(returning: Result { () throws(AdminClientError) in try question(admin) })
            }
        }
        do throws(AdminClientError) {
            return try answer.get()
        } catch {
            throw TunnelError(error.description)
        }
    }
}

extension TunnelOutcome {
    fileprivate init(_ outcome: StreamOutcome) {
        self.init(
            bytesSent: outcome.bytesSent, bytesReceived: outcome.bytesReceived,
            reset: outcome.reset.map { Reset(code: $0.code, errno: $0.errno, text: $0.text, remote: $0.remote) })
    }
}
