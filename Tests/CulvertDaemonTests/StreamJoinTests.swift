import Foundation
import Testing

@testable import CulvertDaemon

extension BlockingTests {
    /// Real pipes on one side, a real socket pair on the other.
    @Suite struct StreamJoinTests {
        /// What the join has, and the far ends of it.
        private final class Bench: Sendable {
            let stdin: Channel, stdout: Channel, socket: Channel
            let input: Channel, output: Channel, service: Channel

            init(blocking: Bool = true) {
                var pair: [CInt] = [-1, -1]
                pipe(&pair)
                (stdin, input) = (Channel(adopting: pair[0], blocking: blocking), Channel(adopting: pair[1]))
                pipe(&pair)
                (output, stdout) = (Channel(adopting: pair[0]), Channel(adopting: pair[1], blocking: blocking))
                socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &pair)
                (socket, service) = (Channel(adopting: pair[0], blocking: blocking), Channel(adopting: pair[1]))
            }

            /// Ends stdout when it is done, as the end of the process does.
            func join() -> Outcome<Void> {
                Outcome { [self] in
                    defer { stdout.close() }
                    try StreamJoin(
                        input: stdin.descriptor, output: stdout.descriptor, socket: socket.descriptor
                    ).run()
                }
            }
        }

        @Test(arguments: [true, false])
        func bothDirectionsCarryAtOnceAndEndApart(blocking: Bool) throws {
            let bench = Bench(blocking: blocking)
            let join = bench.join()
            let up = Data((0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            let down = Data((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 17) })
            let sent = Outcome {
                try bench.input.send(up)
                bench.input.close()
            }
            let answered = Outcome { try bench.service.send(down) }
            let arrived = Outcome { try bench.output.receiveAll() }

            #expect(try bench.service.receiveAll() == up, "all of stdin, then its end")
            try sent.get()
            try answered.get()
            // The service still has the other direction.
            try bench.service.send("!")
            bench.service.endSending()
            #expect(try arrived.get() == down + Data("!".utf8))
            try join.get()
        }

        @Test func endOfServiceLeavesStdinOpen() throws {
            let bench = Bench()
            let join = bench.join()
            bench.service.endSending()
            try bench.input.send("late")
            bench.input.close()
            #expect(try bench.service.receiveAll() == Data("late".utf8))
            try join.get()
        }

        @Test func closedServiceEndsItWithoutAnEndOfStdin() throws {
            let bench = Bench()
            let join = bench.join()
            try bench.service.send("bye")
            bench.service.close()
            try join.get()
            #expect(try bench.output.receiveAll() == Data("bye".utf8))
        }

        @Test func lostStdoutIsAFailure() throws {
            let bench = Bench()
            bench.output.close()
            let join = bench.join()
            try bench.service.send("x")
            let failure = #expect(throws: StreamJoin.Failure.self) { try join.get() }
            #expect(failure?.description == "cannot write to stdout: Broken pipe")
        }

        /// A clean end would have the far side take what came so far for the whole.
        @Test func unreadableStdinIsAFailure() throws {
            let bench = Bench()
            let socket = bench.socket
            let output = bench.stdout
            let input = bench.input
            // The writing end of a pipe cannot be read.
            let join = Outcome {
                try StreamJoin(
                    input: input.descriptor, output: output.descriptor, socket: socket.descriptor
                ).run()
            }
            let failure = #expect(throws: StreamJoin.Failure.self) { try join.get() }
            #expect(failure?.description == "cannot read stdin: Bad file descriptor")
        }
    }
}
