import Foundation
import Testing

@testable import CulvertDaemon

/// Real pipes on one side, a real socket pair on the other.
@Suite(.timeLimit(.minutes(1))) struct StreamJoinTests {
    /// The three descriptors of a join and the far ends of them.
    private final class Bench: Sendable {
        let stdin = Pipe(), stdout = Pipe()
        let service: CInt
        let socket: CInt

        init() {
            var pair: [CInt] = [-1, -1]
            socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair)
            (socket, service) = (pair[0], pair[1])
        }

        /// Runs the join on a thread of its own; the result comes when it ends.
        func join() -> Task<Result<Void, any Error>, Never> {
            Task {
                await withCheckedContinuation { continuation in
                    Thread { [self] in
                        let join = StreamJoin(
                            input: stdin.fileHandleForReading.fileDescriptor,
                            output: stdout.fileHandleForWriting.fileDescriptor, socket: socket)
                        let result = Result { try join.run() }
                        try? stdout.fileHandleForWriting.close()
                        continuation.resume(returning: result)
                    }.start()
                }
            }
        }
    }

    /// Runs blocking code off the concurrency pool.
    private func blocking<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withCheckedContinuation { continuation in Thread { continuation.resume(returning: body()) }.start() }
    }

    private static func readAll(_ descriptor: CInt) -> Data {
        FileHandle(fileDescriptor: descriptor, closeOnDealloc: false).readDataToEndOfFile()
    }

    @Test func bothDirectionsCarryAtOnceAndEndApart() async throws {
        let bench = Bench()
        let join = bench.join()
        let up = Data((0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        let down = Data((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 17) })

        async let sent: Void = blocking {
            bench.stdin.fileHandleForWriting.write(up)
            try? bench.stdin.fileHandleForWriting.close()
        }
        async let answered: Void = blocking {
            FileHandle(fileDescriptor: bench.service, closeOnDealloc: false).write(down)
        }
        async let arrivedDown = blocking { bench.stdout.fileHandleForReading.readDataToEndOfFile() }
        let arrivedUp = await blocking { Self.readAll(bench.service) }
        #expect(arrivedUp == up, "all of stdin, then its end")
        // The service still has the other direction.
        await answered
        await blocking { FileHandle(fileDescriptor: bench.service, closeOnDealloc: false).write(Data("!".utf8)) }
        shutdown(bench.service, CInt(SHUT_WR))
        #expect(await arrivedDown == down + Data("!".utf8))
        await sent
        try await join.value.get()
        close(bench.service)
    }

    @Test func endOfServiceLeavesStdinOpen() async throws {
        let bench = Bench()
        let join = bench.join()
        shutdown(bench.service, CInt(SHUT_WR))
        bench.stdin.fileHandleForWriting.write(Data("late".utf8))
        try bench.stdin.fileHandleForWriting.close()
        #expect(await blocking { Self.readAll(bench.service) } == Data("late".utf8))
        try await join.value.get()
        close(bench.service)
    }

    @Test func closedServiceEndsItWithoutAnEndOfStdin() async throws {
        let bench = Bench()
        let join = bench.join()
        FileHandle(fileDescriptor: bench.service, closeOnDealloc: false).write(Data("bye".utf8))
        close(bench.service)
        try await join.value.get()
        #expect(await blocking { bench.stdout.fileHandleForReading.readDataToEndOfFile() } == Data("bye".utf8))
    }

    @Test func lostStdoutIsAFailure() async throws {
        let bench = Bench()
        try bench.stdout.fileHandleForReading.close()
        let join = bench.join()
        FileHandle(fileDescriptor: bench.service, closeOnDealloc: false).write(Data("x".utf8))
        let result = await join.value
        let error = #expect(throws: StreamJoin.Failure.self) { try result.get() }
        #expect(error?.description == "cannot write to stdout: Broken pipe")
        close(bench.service)
    }

    @Test func nonblockingDescriptorsAreWaitedFor() async throws {
        let bench = Bench()
        for descriptor in [
            bench.stdin.fileHandleForReading.fileDescriptor, bench.stdout.fileHandleForWriting.fileDescriptor, bench.socket,
        ] {
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        }
        let join = bench.join()
        let data = Data(repeating: 7, count: 3_000_000)
        async let echoed: Void = blocking {
            let service = FileHandle(fileDescriptor: bench.service, closeOnDealloc: false)
            service.write(service.readDataToEndOfFile())
            shutdown(bench.service, CInt(SHUT_WR))
        }
        async let sent: Void = blocking {
            bench.stdin.fileHandleForWriting.write(data)
            try? bench.stdin.fileHandleForWriting.close()
        }
        #expect(await blocking { bench.stdout.fileHandleForReading.readDataToEndOfFile() } == data)
        _ = await (echoed, sent)
        try await join.value.get()
        close(bench.service)
    }
}
