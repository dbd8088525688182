import CulvertIO
import CulvertProtocol
import CulvertTLS

/// Makes a connection past the session, to where one of the session's lanes leads: once, and for one stream.
final class BypassDialler {
    typealias Completion = (Result<SecuredConnection, BypassFailure>) -> Void

    private unowned let peer: Peer
    private let token: SessionID
    private var connector: Connector?
    private var handshake: Handshake?
    private var completion: Completion?

    /// - Parameter completion: called later, unless cancelled, with a connection on which ATTACH was sent.
    init(peer: Peer, to remote: String, token: SessionID, completion: @escaping Completion) throws(BypassFailure) {
        self.peer = peer
        self.token = token
        self.completion = completion
        guard let endpoint = try? Endpoint("tcp:" + remote) else { throw BypassFailure("no address to dial") }
        connector = Connector(to: endpoint, loop: peer.loop, timeout: peer.environment.limits.connectTimeout) {
            [unowned self] result in
            connector = nil
            switch consume result {
            case .success(let descriptor): shakeHands(descriptor)
            case .failure(let error): finish(.failure(BypassFailure(error.description)))
            }
        }
    }

    func cancel() {
        completion = nil
        connector.take()?.cancel()
        handshake.take()?.cancel()
    }

    private func shakeHands(_ descriptor: consuming Descriptor) {
        do {
            let engine = try peer.environment.tls.makeEngine(.client, with: peer.settings.identity)
            handshake = Handshake(
                descriptor, engine: engine, loop: peer.loop, timeout: peer.environment.limits.handshakeTimeout
            ) { [unowned self] result in
                handshake = nil
                switch result {
                case .success(let connection): attach(connection)
                case .failure(let failure): finish(.failure(BypassFailure(failure.text)))
                }
            }
        } catch {
            finish(.failure(BypassFailure("\(error)")))
        }
    }

    private func attach(_ connection: SecuredConnection) {
        guard peer.isOtherEnd(of: connection) else {
            return finish(.failure(BypassFailure("\(connection.remote) is not \(peer.name)")))
        }
        guard connection.say(Attach(token: token).frame) else {
            return finish(.failure(BypassFailure("\(connection.remote) takes not even one frame")))
        }
        finish(.success(connection))
    }

    private func finish(_ result: Result<SecuredConnection, BypassFailure>) {
        completion.take()?(result)
    }
}
