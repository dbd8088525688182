import CulvertIO
import Foundation
import Testing

@Suite struct ConnectorTests {
    /// What a completion gave, in a form that tests can hold.
    typealias Outcome = Result<Transferred<Descriptor>, IOError>

    private func connect(_ endpoint: Endpoint, loop: EventLoop, timeout: Duration = .seconds(10)) throws -> Outcome {
        let inbox = Inbox<Outcome>()
        loop.execute {
            _ = Connector(to: endpoint, loop: loop, timeout: timeout) { result in
                switch consume result {
                case .success(let socket): inbox.put(.success(Transferred(socket)))
                case .failure(let error): inbox.put(.failure(error))
                }
            }
        }
        return try inbox.take("the connector")
    }

    @Test(arguments: ["127.0.0.1", "::1", "localhost"])
    func connectsOverTCP(host: String) throws {
        try withLoop { loop in
            let accepted = Inbox<Transferred<Descriptor>>()
            let listener = try loop.sync {
                let listener = try Listener(endpoint: .tcp(host: host, port: 0), loop: loop) { accepted.put(Transferred($0)) }
                return LoopBound(listener, loop: loop)
            }
            let local = try loop.sync { listener.value.local }
            guard case .tcp(_, let port) = local else { Issue.record("\(local)"); return }
            let near = try connect(.tcp(host: host, port: port), loop: loop).get().take()
            let far = try accepted.take().take()
            #expect(near.write("hello") == .bytes(5))
            near.shutdownWrite()
            #expect(try far.readToEnd() == ("hello", .endOfStream))
            #expect(near.remoteAddress == local.address)
            #expect(near.localAddress == far.remoteAddress)
            try loop.sync { listener.value.close() }
        }
    }
}
