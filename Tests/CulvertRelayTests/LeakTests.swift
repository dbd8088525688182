import CulvertIO
import Foundation
import Testing

@testable import CulvertRelay

/// What is over leaves nothing behind. Each test has a process of its own, where nobody else opens descriptors.
@Suite(.serialized, .alone) struct LeakTests {
    @Test func tenThousandStreamsLeaveNothing() async {
        await #expect(processExitsWith: .success) { await recordingErrors {
            // What is loaded with the first pair stays open.
            try await withEchoPair { _ in } run: { try await Bystander($0.connect("echo")).finish() }
            let before = try openDescriptors().count
            try await withEchoPair { _ in } run: { pair in
                try await Bystander(pair.connect("echo")).finish()
                try await pair.settle()
                let idle = try openDescriptors().count, near = pair.endpoint("echo")
                try await onThread {
                    for _ in 0..<scaled(2000) { try echo("one after the other", at: near, times: 1) }
                }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<4 {
                        group.addTask {
                            try await onThread {
                                for _ in 0..<scaled(20) { try echo("a hundred at once", at: near, times: 100) }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                try await pair.settle()
                #expect(await pair.a.status().peers[0].streamsReset == 0)
                try await expectDescriptors(atMost: idle)
            }
            try await expectDescriptors(atMost: before)
        } }
    }

    @Test func sessionsThatComeAndGoLeaveNothing() async {
        await #expect(processExitsWith: .success) { await recordingErrors {
            let link = try Link()
            try await withEchoPair { setup in
                setup.a.peers[0].addresses = [link.endpoint]
                setup.limit { $0.sessionTimeout = .zero }
            } run: { pair in
                var most: Int?
                for _ in 0..<scaled(30) {
                    link.lead(to: try await pair.port(of: .b))
                    // Some in the middle of a word, some that wait, when the link breaks.
                    let clients = try await onThread { try (0..<20).map { _ in try PlainSocket.connect(pair.endpoint("echo")) } }
                    for client in clients.dropFirst(10) { try client.write("hello") }
                    try await eventually("streams are open") { await pair.b.status().streams.count >= 10 }
                    link.cut()
                    for client in clients { _ = try await readUntilOver(client) }
                    for client in clients { client.close() }
                    try await pair.settle()
                    // The first round's, and both ends of a connection that the next session already has on its way.
                    if let most { try await expectDescriptors(atMost: most) }
                    most = try most ?? openDescriptors().count + 3
                }
            }
        } }
    }

    @Test func lanesThatComeAndGoLeaveNothing() async {
        await #expect(processExitsWith: .success) { await recordingErrors {
            let link = try Link()
            try await withEchoPair { setup in
                setup.a.peers[0].addresses = [link.endpoint]
                setup.a.peers[0].lanes = 4
            } run: { pair in
                let target = try await pair.port(of: .b)
                link.lead(to: target)
                let client = try await Bystander(pair.connect("echo"))
                var most: Int?
                for round in 0..<scaled(30) {
                    try await eventually("all lanes are there") {
                        await pair.a.status().peers[0].sessions.first?.lanes.filter { $0.rtt != nil }.count == 4
                    }
                    try await client.exchange("round \(round)")
                    if let most { try await expectDescriptors(atMost: most) }
                    most = try most ?? openDescriptors().count + 3
                    link.cut()
                    link.lead(to: target)
                }
                try await client.finish()
                try await pair.settle()
            }
        } }
    }

    /// The relays take what there is but for a reserve, without which libdispatch would end the process.
    @Test func wantOfDescriptorsPasses() async {
        await #expect(processExitsWith: .success) { await recordingErrors {
            let target = try PlainSocket.listen(PlainSocket.anyPort)
            try await withEchoPair { $0.route("slow", to: target.endpoint) } run: { pair in
                try await Bystander(pair.connect("echo")).finish()
                try await pair.settle()
                let near = pair.endpoint("slow")
                let clients = try (0..<60).map { _ in try PlainSocket.make(near) }
                let idle = try openDescriptors().count
                let usual = try limitDescriptors(to: UInt(idle + 50))
                // Some come through, some wait to be accepted, some are refused by the far side, which has the same limit.
                for client in clients {
                    try client.connect(to: near)
                    try client.write("hello")
                }
                try await eventually("the far side has met the limit") {
                    await pair.a.status().forward("slow")?.ended.contains { $0.reset?.errno == "EMFILE" } == true
                }
                _ = try limitDescriptors(to: usual)

                let serving = Task {
                    try await onThread {
                        while let connection = target.acceptOrStop() { try connection.write(connection.readToEnd()) }
                    }
                }
                for client in clients {
                    client.finishWriting()
                    let heard = try await readUntilOver(client)
                    #expect([[], Array("hello".utf8)].contains(heard))
                    client.close()
                }
                target.stop()
                try await serving.value
                let ended = await pair.a.status().forward("slow")?.ended ?? []
                #expect(ended.allSatisfy { $0.reset == nil || $0.reset?.errno == "EMFILE" })
                try await Bystander(pair.connect("echo")).finish()
                try await pair.settle()
                try await expectDescriptors(atMost: idle - clients.count)
            }
        } }
    }
}

/// - Returns: the limit before.
private func limitDescriptors(to count: UInt) throws -> UInt {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard getrlimit(resource, &limit) == 0 else { throw Failure("read the limit of descriptors", errno) }
    let before = limit.rlim_cur
    limit.rlim_cur = count
    guard setrlimit(resource, &limit) == 0 else { throw Failure("limit descriptors", errno) }
    return before
}

/// Says `text` to an echo on so many connections at once, and hears it.
private func echo(_ text: String, at near: Endpoint, times: Int) throws {
    let clients = try (0..<times).map { _ in try PlainSocket.connect(near) }
    for client in clients {
        try client.write(text)
        client.finishWriting()
    }
    for client in clients {
        let heard = try client.readToEnd()
        guard heard == Array(text.utf8) else { throw Failure("an echo answered \(heard)") }
    }
}

/// An error that leaves the body of a process ends it without a word; an issue reaches its parent.
private func recordingErrors(_ body: () async throws -> Void) async {
    do {
        try await body()
    } catch {
        Issue.record(error)
    }
}
