import CulvertIO
import CulvertRelay
import Foundation
import Glibc

/// One stream to a peer's service for `culvert connect`, by way of a forward that serves one connection.
public struct ServiceConnection {
    private let admin: AdminClient
    private let to: String
    private let input: CInt
    private let output: CInt
    /// How long the relay may take to account for a stream whose socket has closed.
    private static let outcomeLimit = Duration.seconds(10)
    private static let pollInterval = Duration.milliseconds(20)

    /// `input` is sent and `output` gets what the service says.
    public init(to: String, admin: AdminClient, input: CInt = STDIN_FILENO, output: CInt = STDOUT_FILENO) {
        self.to = to
        self.input = input
        self.output = output
        self.admin = admin
    }

    /// Why no clean end was reached.
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
        /// If the stream was reset, why.
        var resetText: String?
    }

    /// Returns when both directions ended cleanly.
    public func run() throws {
        // The next descriptor to be opened would take the place of one that is closed.
        for (descriptor, name) in [(input, "stdin"), (output, "stdout")] {
            guard fcntl(descriptor, F_GETFD) >= 0 else { throw Failure(description: "\(name) is closed; redirect it") }
        }
        var request = ForwardRequest(to: to)
        request.once = true
        // If we die before we connect, the forward goes by itself.
        request.lease = "30s"
        let forward = try admin.addForward(request)
        try StreamJoin(input: input, output: output, socket: connect(to: forward)).run()
        if let reset = try outcome(of: forward).reset {
            let side = reset.remote ? "the peer" : "the local relay"
            throw Failure(
                description: "\(to): reset by \(side) (\(reset.code)): \(HumanText.plain(reset.text))", resetText: reset.text)
        }
    }

    private func connect(to forward: ForwardStatus) throws -> CInt {
        do {
            guard case .unix(let path) = try Endpoint(forward.listen) else {
                throw Failure(description: "\(forward.listen) is no UNIX socket")
            }
            return try UnixSocket.connect(path)
        } catch {
            try? admin.removeForward(id: forward.id)
            throw Failure(description: "cannot reach the relay's socket for \(to): \(error)")
        }
    }

    private func outcome(of forward: ForwardStatus) throws -> StreamOutcome {
        let deadline = ContinuousClock.now + Self.outcomeLimit
        repeat {
            do throws(AdminClientError) {
                if let outcome = try admin.forward(id: forward.id).ended.last { return outcome }
            } catch {
                throw Failure(description: "\(to): cannot tell whether the stream ended cleanly: \(error)")
            }
            Thread.sleep(forTimeInterval: Self.pollInterval / .seconds(1))
        } while ContinuousClock.now < deadline
        throw Failure(description: "\(to): the relay still has the stream \(Self.outcomeLimit) after its socket closed")
    }
}
