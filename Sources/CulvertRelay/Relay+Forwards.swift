import CulvertIO
import CulvertProtocol

/// A forward and the loop it lives on.
struct ForwardHandle: Sendable {
    let loop: EventLoop
    let forward: LoopBound<Forward>
    let settings: ForwardSettings
    let origin: Forward.Origin
    /// As it was made; with the real port.
    let listen: String
}

/// The forwards of the configuration and of the admin interface.
extension Relay {
    public func forwards() async -> [ForwardStatus] {
        let handles = state.withLock { $0.forwards.sorted { Self.number($0.key) < Self.number($1.key) } }
        var statuses: [ForwardStatus] = []
        for (_, handle) in handles {
            if let status = await handle.loop.run({ handle.forward.value.status }) { statuses.append(status) }
        }
        return statuses
    }

    public func forward(_ forward: String) async throws(RelayError) -> ForwardStatus {
        let (_, handle) = try find(forward)
        guard let status = await handle.loop.run({ handle.forward.value.status }) else {
            throw RelayError("the relay has stopped")
        }
        return status
    }

    public func addForward(_ settings: ForwardSettings) async throws(RelayError) -> ForwardStatus {
        guard !state.withLock({ $0.isDraining }) else { throw RelayError("the relay is shutting down") }
        return try await open(settings, origin: .admin)
    }

    /// - Parameter forward: an id or a listen address. Streams that came through it go on.
    public func removeForward(_ forward: String) async throws(RelayError) {
        let (id, handle) = try find(forward)
        state.withLock { $0.forwards[id] = nil }
        _ = await handle.loop.run { handle.forward.value.close() }
    }

    /// Starts the forward's lease anew.
    public func renewForward(_ forward: String) async throws(RelayError) -> ForwardStatus {
        let (_, handle) = try find(forward)
        _ = await handle.loop.run { handle.forward.value.renew() }
        return try await self.forward(forward)
    }

    func open(_ settings: ForwardSettings, origin: Forward.Origin) async throws(RelayError) -> ForwardStatus {
        guard let entry = peers[settings.to.peer] else {
            let known = peers.names.sorted().joined(separator: ", ")
            throw RelayError("no peer '\(settings.to.peer)'; the configuration has \(known.isEmpty ? "none" : known)")
        }
        guard settings.to.service.utf8.count <= WireLimit.service else {
            throw RelayError("'\(settings.to)': a service is asked for in at most \(WireLimit.service) bytes")
        }
        let id = state.withLock { state in
            state.lastForward += 1
            return "f\(state.lastForward)"
        }
        let forget: @Sendable (String) -> Void = { [weak self] id in self?.state.withLock { $0.forwards[id] = nil } }
        let opened = await entry.loop.run { () -> Result<(LoopBound<Forward>, ForwardStatus), IOError> in
            Result { () throws(IOError) in
                let forward = try Forward(
                    id: id, settings: settings, origin: origin, peer: entry.peer.value, onExpiry: forget)
                return (LoopBound(forward, loop: entry.loop), forward.status)
            }
        }
        switch opened {
        case nil: throw RelayError("the relay has stopped")
        case .failure(let error): throw RelayError("forward to \(settings.to): \(error)")
        case .success((let forward, let status)):
            state.withLock { state in
                state.forwards[id] = ForwardHandle(
                    loop: entry.loop, forward: forward, settings: settings, origin: origin, listen: status.listen)
            }
            // A reload may have removed the peer meanwhile, and with it the forwards that it knew.
            guard peers[settings.to.peer] != nil, await entry.loop.run({ entry.peer.value.isStaying }) == true else {
                try? await removeForward(id)
                throw RelayError("forward to \(settings.to): the peer was just removed from the configuration")
            }
            return status
        }
    }

    /// Makes the configuration's forwards these; on an error they are the old ones again.
    func replaceForwards(with wanted: [ForwardSettings]) async throws(RelayError) {
        let current = state.withLock { $0.forwards.filter { $0.value.origin == .config } }
        let dropped = current.filter { !wanted.contains($0.value.settings) }
        let missing = wanted.filter { wanted in !current.values.contains { $0.settings == wanted } }
        // One that only changes where it leads has to give up its address first.
        for id in dropped.keys { try await removeForward(id) }
        var opened: [String] = []
        do throws(RelayError) {
            for settings in missing { opened.append(try await open(settings, origin: .config).id) }
        } catch {
            for id in opened { try? await removeForward(id) }
            for handle in dropped.values { _ = try? await open(handle.settings, origin: .config) }
            throw error
        }
    }

    private func find(_ forward: String) throws(RelayError) -> (String, ForwardHandle) {
        let found = state.withLock { state in
            state.forwards.first { $0.key == forward || $0.value.listen == forward }
        }
        guard let found else { throw RelayError("no forward '\(forward)'; see 'culvert forward list'") }
        return (found.key, found.value)
    }

    private static func number(_ id: String) -> Int { Int(id.dropFirst()) ?? 0 }
}
