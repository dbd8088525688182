import Foundation
import Glibc
import Synchronization

/// Joins two descriptors of this process, stdin and stdout, with a connected socket, both directions at once, each with
/// an end of its own.
public final class StreamJoin: Sendable {
    private let input: CInt
    private let output: CInt
    private let socket: CInt
    private let inputFailure = Mutex<Failure?>(nil)
    /// What one read takes at most. Above this nothing is gained: the buffer falls out of the second level cache.
    private static let chunk = 256 << 10
    private static let pipeCapacity: CInt = 1 << 20
    /// F_SETPIPE_SZ of linux/fcntl.h, which Glibc's module leaves out.
    private static let setPipeSize: CInt = 1031

    /// The descriptors stay open while `run` runs, `input` and `socket` until the process ends.
    public init(input: CInt = STDIN_FILENO, output: CInt = STDOUT_FILENO, socket: CInt) {
        self.input = input
        self.output = output
        self.socket = socket
    }

    /// What broke the join on our side. What broke it on the far side, the relay knows.
    public struct Failure: Error, Equatable, CustomStringConvertible {
        public var description: String

        fileprivate init(_ action: String) {
            description = "cannot \(SystemError(action))"
        }
    }

    /// Returns when both directions are finished, or when the socket is closed for both: then it does not wait for an
    /// end of `input`, which a terminal or a sleeping parent may never give.
    public func run() throws(Failure) {
        // SIGPIPE would end the process before it could say why.
        signal(SIGPIPE, SIG_IGN)
        for descriptor in [input, output] { _ = fcntl(descriptor, Self.setPipeSize, Self.pipeCapacity) }
        Thread { [self] in carryInput() }.start()
        try carryOutput()
        wait(for: 0, on: socket)
        if let failure = inputFailure.withLock({ $0 }) { throw failure }
    }

    /// Ends when the socket takes nothing more, which `run` notices too.
    private func carryInput() {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunk, alignment: 4096)
        defer { buffer.deallocate() }
        while let count = read(input, buffer) {
            if count == 0 {
                shutdown(socket, CInt(SHUT_WR))
                return
            }
            guard write(socket, UnsafeRawBufferPointer(rebasing: buffer[..<count])) else { return }
        }
        let failure = Failure("read stdin")
        inputFailure.withLock { $0 = failure }
        // Not SHUT_WR alone: the far side must not take what came so far for the whole.
        shutdown(socket, CInt(SHUT_RDWR))
    }

    private func carryOutput() throws(Failure) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunk, alignment: 4096)
        defer { buffer.deallocate() }
        // A read that fails means a stream that was reset; the outcome that the relay keeps says why.
        while let count = read(socket, buffer), count > 0 {
            guard write(output, UnsafeRawBufferPointer(rebasing: buffer[..<count])) else {
                throw Failure("write to stdout")
            }
        }
    }

    /// Bytes read, 0 at the end, nil on a failure with `errno`. Takes nonblocking descriptors too: the parent chose.
    private func read(_ descriptor: CInt, _ buffer: UnsafeMutableRawBufferPointer) -> Int? {
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            guard mayRetry(POLLIN, descriptor) else { return nil }
        }
    }

    /// Writes all; false on a failure, with `errno`.
    private func write(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
            if count >= 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            } else if !mayRetry(POLLOUT, descriptor) {
                return false
            }
        }
        return true
    }

    private func mayRetry(_ event: CInt, _ descriptor: CInt) -> Bool {
        if errno == EINTR { return true }
        guard errno == EAGAIN else { return false }
        wait(for: event, on: descriptor)
        return true
    }

    /// Without an event it waits for POLLHUP, which comes when both directions are shut, whoever shut them.
    private func wait(for event: CInt, on descriptor: CInt) {
        var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        while poll(&entry, 1, -1) < 0, errno == EINTR {}
    }
}
