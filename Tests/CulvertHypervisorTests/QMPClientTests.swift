import CulvertTestSupport
import Foundation
import Synchronization
import Testing

@testable import CulvertHypervisor

struct QMPClientTests {
    private struct Status: Decodable, Sendable { let status: String }
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func connect(
        _ server: FakeQMP, within limit: Duration = .seconds(10), news: @escaping @Sendable (QMPClient.News) -> Void = { _ in }
    ) async throws -> QMPClient {
        try await QMPClient.connect(to: server.path, name: "QEMU", within: limit, news: news)
    }

    private func error(_ body: () async throws(QMPError) -> Void) async -> QMPError? {
        do throws(QMPError) {
            try await body()
            return nil
        } catch {
            return error
        }
    }

    @Test func takesTheGreetingAndNegotiates() async throws {
        let server = try FakeQMP(in: directory) { _ in .returns(#"{"status": "running"}"#) }
        let client = try await connect(server)
        #expect(client.version.description == "7.2.1")
        #expect(try await client.execute("query-status", as: Status.self).status == "running")
        #expect(server.commands == ["qmp_capabilities", "query-status"])
    }

    @Test(arguments: [1, 7, 64 << 10]) func joinsWhatComesInPieces(piece: Int) async throws {
        let text = String(repeating: "q", count: 20_000)
        let server = try FakeQMP(in: directory, piece: piece) { _ in .returns("\"\(text)\"") }
        #expect(try await connect(server).execute("x", as: String.self) == text)
    }

    @Test func takesALargeReply() async throws {
        let server = try FakeQMP(in: directory) { _ in .returns("\"\(String(repeating: "x", count: 8 << 20))\"") }
        #expect(try await connect(server).execute("x", as: String.self).utf8.count == 8 << 20)
    }

    @Test func keepsEventsAndRepliesApart() async throws {
        let events = Mutex<[String]>([])
        let server = try FakeQMP(in: directory) { command in
            .raw([
                #"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#,
                #"{"return": {"status": "\#(command.id)"}, "id": \#(command.id)}"#,
                #"{"event": "MIGRATION", "data": {"status": "active"}, "timestamp": {"seconds": 1, "microseconds": 2}}"#,
            ])
        }
        let client = try await connect(server) { news in
            guard case .event(let event) = news else { return }
            let status = event.data(as: Status.self)?.status ?? "-"
            events.withLock { $0.append("\(event.name) \(status)") }
        }
        for _ in 0..<3 { _ = try await client.execute("x", as: Status.self) }
        try await waitUntil("six events") { events.withLock { $0.count } == 6 }
        #expect(events.withLock { $0 } == Array(repeating: ["STOP -", "MIGRATION active"], count: 3).flatMap(\.self))
    }

    @Test func matchesRepliesToCommandsById() async throws {
        let first = Mutex<UInt64?>(nil)
        let server = try FakeQMP(in: directory) { command in
            // Both are answered at the second, in the wrong order.
            let earlier = first.withLock { id in
                defer { id = id ?? command.id }
                return id
            }
            guard let earlier else { return .nothing }
            return .raw([command.id, earlier].map { #"{"return": "\#($0)", "id": \#($0)}"# })
        }
        let client = try await connect(server)
        async let one = client.execute("a", as: String.self)
        async let two = client.execute("b", as: String.self)
        let answers = try await [one, two]
        #expect(Set(answers) == ["2", "3"])
    }

    @Test func passesTheErrorOn() async throws {
        let server = try FakeQMP(in: directory) { _ in .error(class: "DeviceNotFound", desc: "no such thing, try 'x'") }
        let client = try await connect(server)
        let error = await error { () throws(QMPError) in try await client.execute("x") }
        #expect(error == QMPError(.refused(class: "DeviceNotFound"), "no such thing, try 'x'"))
        #expect(client.closed == nil)
    }

    @Test func givesUpOnASilentQEMU() async throws {
        let server = try FakeQMP(in: directory) { $0.name == "x" ? .nothing : .returns(#"{"status": "running"}"#) }
        let client = try await connect(server)
        let error = await error { () throws(QMPError) in try await client.execute("x", within: .milliseconds(50)) }
        #expect(error == QMPError(.timedOut, "QEMU has not answered 'x' within 50 ms"))
        #expect(try await client.execute("query-status", as: Status.self).status == "running")
    }

    @Test func saysWhoMayHoldTheMonitor() async throws {
        let server = try FakeQMP(in: directory, greeting: nil) { _ in .nothing }
        let error = await error { () throws(QMPError) in
            _ = try await QMPClient.connect(to: server.path, name: "QEMU", within: .milliseconds(50))
        }
        #expect(error?.kind == .timedOut)
        #expect(error?.description.contains("another one is probably connected") == true)
    }

    @Test func failsEveryWaitWhenTheConnectionEnds() async throws {
        let ends = Mutex(0)
        let server = try FakeQMP(in: directory) { $0.name == "last" ? .close : .nothing }
        let client = try await connect(server) { if case .closed = $0 { ends.withLock { $0 += 1 } } }
        async let waiting = error { () throws(QMPError) in try await client.execute("first") }
        try await waitUntil("the first command is there") { server.commands.contains("first") }
        let last = await error { () throws(QMPError) in try await client.execute("last") }
        let closed = QMPError(.closed, "QEMU closed its QMP connection")
        #expect(await waiting == closed)
        #expect(last == closed)
        #expect(await error { () throws(QMPError) in try await client.execute("later") } == closed)
        #expect(client.closed == closed)
        #expect(ends.withLock { $0 } == 1)
    }

    @Test func stopsWaitingWhenTheTaskIsCancelled() async throws {
        let server = try FakeQMP(in: directory) { _ in .nothing }
        let client = try await connect(server)
        let task = Task { await error { () throws(QMPError) in try await client.execute("x") } }
        try await waitUntil("the command is there") { server.commands.contains("x") }
        task.cancel()
        #expect(await task.value?.kind == .cancelled)
    }

    @Test func refusesWhatIsNotQMP() async throws {
        let server = try FakeQMP(in: directory, greeting: "SSH-2.0-OpenSSH_9.2") { _ in .nothing }
        let error = await error { () throws(QMPError) in
            _ = try await QMPClient.connect(to: server.path, name: "QEMU", within: .seconds(10))
        }
        #expect(error == QMPError(.malformed, "QEMU sent something that is not QMP: SSH-2.0-OpenSSH_9.2"))
    }

    @Test func tellsAnUnexpectedReply() async throws {
        let server = try FakeQMP(in: directory) { _ in .returns("[1, 2]") }
        let client = try await connect(server)
        let error = await error { () throws(QMPError) in _ = try await client.execute("x", as: Status.self) }
        #expect(error?.kind == .malformed)
        #expect(error?.description.hasPrefix("QEMU answered 'x' with something unexpected: ") == true)
    }

    @Test func saysThatNothingListens() async throws {
        let path = directory("absent.qmp")
        let error = await error { () throws(QMPError) in _ = try await QMPClient.connect(to: path) }
        #expect(error?.kind == .unreachable)
        #expect(error?.description.contains("No such file or directory") == true)
        #expect(error?.description.contains("-qmp unix:\(path),server=on,wait=off") == true)
    }

    @Test func closesOnce() async throws {
        let server = try FakeQMP(in: directory) { _ in .returns("{}") }
        let client = try await connect(server)
        client.close()
        client.close()
        #expect(await error { () throws(QMPError) in try await client.execute("x") }?.kind == .closed)
    }
}
