import CulvertIO
import Foundation
import Testing

@testable import CulvertRelay

/// Forwards that come and go while the relay runs, and what they remember.
@Suite(.fewAtOnce) struct ForwardTests {
    /// A pair whose `b` has the service `echo` and whose `a` has no forward.
    private func withEcho(_ body: (RelayPair) async throws -> Void) async throws {
        let echo = try Target.echo()
        try await withPair { $0.b.services = [ServiceSettings(name: "echo", connect: echo.endpoint, allow: ["a"])] } run: {
            try await body($0)
        }
    }

    private func settings(
        _ listen: Endpoint, to service: String = "echo", _ edit: (inout ForwardSettings) -> Void = { _ in }
    ) -> ForwardSettings {
        var settings = ForwardSettings(listen: listen, to: ServiceReference(peer: "b", service: service))
        edit(&settings)
        return settings
    }

    private func connect(_ forward: ForwardStatus) async throws -> PlainSocket {
        let endpoint = try Endpoint(forward.listen)
        return try await onThread { try PlainSocket.connect(endpoint) }
    }

    /// The text of the error with which `body` fails.
    private func refusal(_ body: () async throws -> Void) async throws -> String? {
        do {
            try await body()
            return nil
        } catch let error as RelayError {
            return error.description
        }
    }

    @Test(arguments: [true, false])
    func comesAndGoesWhileItsStreamsGoOn(byID: Bool) async throws {
        try await withEcho { pair in
            let near = pair.directory.socket("near")
            let forward = try await pair.a.addForward(settings(near))
            #expect(forward.origin == "admin" && forward.to == "b/echo" && forward.listen == near.description)
            #expect(forward.accepted == 0 && forward.active == 0 && forward.ended == [])
            let client = try await Bystander(connect(forward))
            #expect(try await pair.a.forward(forward.id).active == 1)

            try await pair.a.removeForward(byID ? forward.id : near.description)
            #expect(try await connectError(near) == ENOENT)
            #expect(await pair.a.forwards() == [])
            let asked = try await refusal { _ = try await pair.a.forward(forward.id) }
            #expect(asked == "no forward '\(forward.id)'; see 'culvert forward list'")
            try await client.finish()
            try await pair.settle()
        }
    }

    @Test func onceServesOneClient() async throws {
        try await withEcho { pair in
            let near = pair.directory.socket("near")
            let forward = try await pair.a.addForward(settings(near) { $0.once = true })
            let client = try await Bystander(connect(forward))
            #expect(try await connectError(near) == ENOENT)
            try await client.finish()
            let outcome = try await pair.a.outcome("echo")
            #expect(outcome.reset == nil && outcome.bytesSent == 11 && outcome.bytesReceived == 11)
            try await eventually("the forward that served its client is forgotten") { await pair.a.forwards() == [] }
            try await pair.settle()
        }
    }

    @Test func aLeaseEndsUnlessItIsRenewed() async throws {
        try await withEcho { pair in
            let leased = { name, time in settings(pair.directory.socket(name)) { $0.lease = .seconds(time) } }
            let renewed = try await pair.a.addForward(leased("renewed", 300))
            let left = try await pair.a.addForward(leased("left", 1))
            let client = try? await Bystander(connect(left))
            try await eventually("the lease has ended") { await pair.a.forwards().map(\.id) == [renewed.id] }
            #expect(try await connectError(pair.directory.socket("left")) == ENOENT)
            let error = try await refusal { _ = try await pair.a.renewForward(left.id) }
            #expect(error == "no forward '\(left.id)'; see 'culvert forward list'")

            // It was made before the other one, and a second has gone by.
            let ends = try #require(renewed.expires)
            #expect(try #require(try await pair.a.renewForward(renewed.id).expires) >= ends + 1)
            try await Bystander(connect(renewed)).finish()
            try await client?.finish()
            try await pair.settle()
        }
    }

    @Test func remembersHowItsLastStreamsEnded() async throws {
        try await withEcho { pair in
            let forward = try await pair.a.addForward(settings(pair.directory.socket("near")))
            for number in 1...18 {
                let client = try await connect(forward)
                try await onThread {
                    try client.write([UInt8](repeating: 7, count: number))
                    _ = try client.read(exactly: number)
                    guard number == 18 else { return client.finishWriting() }
                    try client.write("x")
                }
                if number == 18 {
                    // A UNIX socket closed with bytes unread resets its peer.
                    try await eventually("the answer waits") { client.unread > 0 }
                } else {
                    _ = try await onThread { try client.readToEnd() }
                }
                client.close()
                try await eventually("\(number) streams have ended") {
                    let status = try await pair.a.forward(forward.id)
                    return status.accepted == UInt64(number) && status.active == 0
                }
            }
            let ended = try await pair.a.forward(forward.id).ended
            #expect(ended.count == 16)
            #expect(ended.dropLast().map(\.bytesSent) == (3...17).map(UInt64.init))
            #expect(ended.dropLast().map(\.bytesReceived) == (3...17).map(UInt64.init))
            #expect(ended.dropLast().allSatisfy { $0.reset == nil })
            #expect(ended.last?.bytesSent == 19)
            #expect(ended.last?.reset?.code == "local-closed" && ended.last?.reset?.errno == "ECONNRESET")
            #expect(zip(ended, ended.dropFirst()).allSatisfy { $0.time <= $1.time && $0.stream < $1.stream })
            try await pair.settle()
        }
    }

    @Test func aSocketHasTheModeThatWasAskedFor() async throws {
        try await withEcho { pair in
            let path = pair.directory["near"]
            _ = try await pair.a.addForward(settings(.unix(path: path)) { $0.unix.mode = 0o600 })
            var status = stat()
            #expect(stat(path, &status) == 0)
            #expect(status.st_mode & 0o7777 == 0o600)
        }
    }

    @Test func aPortOfTheKernelsChoiceIsTold() async throws {
        try await withEcho { pair in
            let forward = try await pair.a.addForward(settings(PlainSocket.anyPort))
            guard case .tcp("127.0.0.1", let port) = try Endpoint(forward.listen) else {
                Issue.record("listens at \(forward.listen)")
                return
            }
            #expect(port != 0)
            #expect(try await pair.a.forward(forward.listen).id == forward.id)
            try await Bystander(connect(forward)).finish()
            try await pair.settle()
        }
    }

    @Test func aPeerThatIsUnknownIsNamed() async throws {
        try await withEcho { pair in
            let near = pair.directory.socket("near")
            let lost = ForwardSettings(listen: near, to: ServiceReference(peer: "nobody", service: "echo"))
            let error = try await refusal { _ = try await pair.a.addForward(lost) }
            #expect(error == "no peer 'nobody'; the configuration has b")
            #expect(try await connectError(near) == ENOENT)
            #expect(await pair.a.forwards() == [])
        }
    }

    @Test func aStaleSocketIsReplaced() async throws {
        try await withEcho { pair in
            let near = pair.directory.socket("near")
            try PlainSocket.listen(near).close()
            #expect(try await connectError(near) == ECONNREFUSED)
            try await Bystander(connect(pair.a.addForward(settings(near)))).finish()
            try await pair.settle()
        }
    }

    @Test func aLiveSocketIsLeftAlone() async throws {
        try await withEcho { pair in
            let near = pair.directory.socket("near"), path = pair.directory["near"]
            let owner = try PlainSocket.listen(near)
            let error = try #require(
                try await refusal { _ = try await pair.a.addForward(settings(near)) })
            #expect(error.contains("b/echo") && error.contains(path) && error.contains("a running process has that socket"))
            #expect(await pair.a.forwards() == [])
            let client = try PlainSocket.connect(near)
            try client.write("x")
            #expect(try await onThread { try owner.accept().read() } == Array("x".utf8))
        }
    }
}

extension PlainSocket {
    /// Bytes that have arrived and were not read.
    fileprivate var unread: CInt {
        var count: CInt = 0
        _ = ioctl(descriptor, UInt(FIONREAD), &count)
        return count
    }
}
