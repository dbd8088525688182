import CulvertIO

/// The forwards of one migration: keeps their leases alive while it lives and removes them in the end.
actor ForwardKeeper {
    /// If this process dies without a word, its forwards go after this time.
    static let lease = Duration.seconds(60)

    nonisolated let tunnel: any Tunnel
    private var forwards: [TunnelForward] = []
    private var renewal: Task<Void, Never>?

    init(tunnel: any Tunnel) { self.tunnel = tunnel }

    /// Goes to its end even if the calling task is cancelled: what was opened must be known, to be closed.
    func open(to service: String, listen: Endpoint? = nil) async throws(TunnelError) -> TunnelForward {
        let opening = Task { [tunnel] () -> Result<TunnelForward, TunnelError> in
            do throws(TunnelError) {
                return .success(try await tunnel.open(to: service, listen: listen, lease: Self.lease))
            } catch {
                return .failure(error)
            }
        }
        let forward = try await opening.value.get()
        forwards.append(forward)
        if renewal == nil { renewal = Task { [weak self] in await self?.renewUntilCancelled() } }
        return forward
    }

    func close(_ forward: TunnelForward) async {
        forwards.removeAll { $0 == forward }
        // A relay that is gone has no forwards either, and one that is deaf lets the lease run out.
        try? await tunnel.close(forward)
    }

    func closeAll() async {
        renewal?.cancel()
        renewal = nil
        await withTaskGroup(of: Void.self) { group in
            for forward in forwards { group.addTask { await self.close(forward) } }
        }
    }

    private func renewUntilCancelled() async {
        while (try? await Task.sleep(for: Self.lease / 4)) != nil {
            // A renewal that fails is not the end of the stream; if the relay is gone, the stream tells.
            for forward in forwards { try? await tunnel.renew(forward) }
        }
    }
}
