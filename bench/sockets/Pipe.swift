import CLinux
import Glibc

/// A blocking pipe through which bytes go from one socket to another without entering this process, closed when it goes
/// out of scope.
public struct Pipe: ~Copyable {
    private let output: CInt, input: CInt
    private let capacity: Int

    /// - Parameter capacity: bytes; more than 1 MiB needs privilege (`/proc/sys/fs/pipe-max-size`).
    public init(capacity: Int) throws(SocketError) {
        var ends: [CInt] = [-1, -1]
        let granted = clinux_pipe(&ends, CInt(capacity))
        guard granted > 0 else { throw SocketError("make", "a pipe", -granted) }
        // It is made not to wait.
        for end in ends { _ = fcntl(end, F_SETFL, 0) }
        (output, input) = (ends[0], ends[1])
        self.capacity = Int(granted)
    }

    deinit {
        close(input)
        close(output)
    }

    /// Takes what is there from `source`, waiting for a byte at least, and returns when `sink` has it: how much that was,
    /// 0 at the end of the stream.
    public func move(from source: borrowing Socket, to sink: borrowing Socket) throws(SocketError) -> Int {
        let count = clinux_splice(source.descriptor, input, capacity, 1)
        guard count >= 0 else { throw SocketError("splice from", source.endpoint, CInt(-count)) }
        var left = count
        while left > 0 {
            let moved = clinux_splice(output, sink.descriptor, left, 1)
            guard moved > 0 else { throw SocketError("splice to", sink.endpoint, CInt(-moved)) }
            left -= moved
        }
        return count
    }
}
