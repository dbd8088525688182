import CulvertIO
import CulvertProtocol
import CulvertTLS

/// The TLS port: lets nobody in who has not proved to be a peer. Lives on one loop; a peer's connections move to the
/// peer's loop.
final class Acceptor {
    /// Hands a connection to the peer that has this identity among `names`. False: no peer has.
    typealias Route = (_ names: [String], _ connection: SecuredConnection) -> Bool

    private let loop: EventLoop
    private let route: Route
    private var environment: RelayEnvironment
    private var listeners: [Endpoint: Listener] = [:]
    /// By the order in which their connections came.
    private var handshakes: [UInt64: Handshake] = [:]
    private var accepted: UInt64 = 0
    /// How many connections were refused, by reason.
    private(set) var refused: [String: UInt64] = [:]
    private static let unknownPeer = "unknown-peer"
    static let reasons = HandshakeFailure.Kind.allCases.map(\.rawValue) + [unknownPeer]

    init(environment: RelayEnvironment, loop: EventLoop, route: @escaping Route) {
        self.environment = environment
        self.loop = loop
        self.route = route
    }

    /// Listens at exactly these addresses; on an error at those it listened at before.
    func listen(at endpoints: [Endpoint], _ environment: RelayEnvironment) throws(IOError) {
        var opened: [Endpoint: Listener] = [:]
        do throws(IOError) {
            for endpoint in Set(endpoints).subtracting(listeners.keys) {
                opened[endpoint] = try Listener(endpoint: endpoint, unix: UnixSocketOptions(), loop: loop) { [unowned self] in
                    accept($0)
                }
            }
        } catch {
            opened.values.forEach { $0.close() }
            throw error
        }
        self.environment = environment
        for endpoint in Set(listeners.keys).subtracting(endpoints) { listeners.removeValue(forKey: endpoint)?.close() }
        listeners.merge(opened) { old, _ in old }
    }

    /// Real addresses, with the ports the kernel chose.
    var addresses: [String] { listeners.values.map(\.local.address).sorted() }

    func close() {
        listeners.values.forEach { $0.close() }
        listeners = [:]
        handshakes.values.forEach { $0.cancel() }
        handshakes = [:]
    }

    private func accept(_ descriptor: consuming Descriptor) {
        makeRoom()
        let remote = descriptor.remoteAddress
        let engine: any TLSEngine
        do {
            engine = try environment.tls.makeEngine(.server)
        } catch {
            return refuse("tls", remote, error.description)
        }
        let number = accepted
        accepted += 1
        handshakes[number] = Handshake(
            descriptor, engine: engine, loop: loop, timeout: environment.limits.handshakeTimeout
        ) { [self] result in
            handshakes[number] = nil
            switch result {
            case .success(let connection): admit(connection)
            case .failure(let failure): refuse(failure.kind.rawValue, remote, failure.text)
            }
        }
    }

    /// Who has been at it longest goes: a peer needs milliseconds, so idle connections cannot keep peers out.
    private func makeRoom() {
        while handshakes.count >= max(1, environment.limits.unauthenticatedConnections) {
            guard let oldest = handshakes.min(by: { $0.key < $1.key }) else { return }
            oldest.value.fail(.crowded, "newer connections took its place before its TLS handshake ended")
        }
    }

    private func admit(_ connection: SecuredConnection) {
        let names = connection.engine.peer.names
        guard !route(names, connection) else { return }
        refuse(Self.unknownPeer, connection.remote, "no peer of the configuration has the identity that it proved (\(names.joined(separator: ", ")))")
        sayGoaway(
            to: connection,
            "none of the names you proved (\(names.joined(separator: ", "))) is the identity of a peer configured here")
    }

    private func refuse(_ reason: String, _ remote: String, _ text: String) {
        refused[reason, default: 0] += 1
        environment.logger.warning("connection from \(remote) refused: \(text)", metadata: ["reason": "\(reason)"])
    }

    /// One frame that tells a host with a good certificate why it is not let in.
    private func sayGoaway(to connection: SecuredConnection, _ text: String) {
        _ = connection.say(Goaway(code: .unknownPeer, lastStream: 0, text: text).frame)
        connection.takeDescriptor().shutdownWrite()
    }
}
