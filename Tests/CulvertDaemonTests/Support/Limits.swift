import Foundation
import Synchronization
import Testing

/// Anything that takes longer hangs. Far above what a loaded machine needs.
let testLimit: TimeInterval = 60

/// Tests that block their thread go one after the other, so that the concurrency pool keeps threads for the rest.
@Suite(.serialized) enum BlockingTests {}

/// A wait that did not end in time.
struct TimedOut: Error {
    var what: String
}

/// Waits until `condition` holds.
func eventually(_ what: @autoclosure () -> String, _ condition: () throws -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: testLimit)
    while try !condition() {
        guard Date() < deadline else { throw TimedOut(what: what()) }
        usleep(10_000)
    }
}

/// One end of a pipe or socket, whose every wait has a limit. Closed in the end if not before.
final class Channel: Sendable {
    private let open: Mutex<CInt?>

    /// -1 once it is closed.
    var descriptor: CInt { open.withLock { $0 } ?? -1 }

    /// - Parameter blocking: for descriptors that only the code under test uses.
    init(adopting descriptor: CInt, blocking: Bool = false) {
        open = Mutex(descriptor)
        // A child would keep the other end from seeing the end.
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        if !blocking { _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK) }
    }

    deinit { close() }

    func close() {
        if let descriptor = open.withLock({ $0.take() }) { Foundation.close(descriptor) }
    }

    /// Stops early if the other end takes no more.
    func send(_ data: Data) throws {
        var rest = data[...]
        while !rest.isEmpty {
            try wait(for: POLLOUT)
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EAGAIN { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    func send(_ text: String) throws {
        try send(Data(text.utf8))
    }

    func endSending() {
        shutdown(descriptor, CInt(SHUT_WR))
    }

    /// Everything up to the end or to where the connection broke.
    func receiveAll() throws -> Data {
        var data = Data()
        var chunk = [UInt8](repeating: 0, count: 256 << 10)
        while true {
            try wait(for: POLLIN)
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EAGAIN { continue }
            guard count > 0 else { return data }
            data.append(contentsOf: chunk[..<count])
        }
    }

    private func wait(for event: Int32) throws {
        var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        guard poll(&entry, 1, Int32(testLimit * 1_000)) > 0 else { throw TimedOut(what: "descriptor \(descriptor)") }
    }
}

/// What a thread of its own comes to.
final class Outcome<Value: Sendable>: Sendable {
    private let done = DispatchSemaphore(value: 0)
    private let value = Mutex<Result<Value, any Error>?>(nil)

    init(_ body: @escaping @Sendable () throws -> Value) {
        Thread { [self] in
            let result = Result { try body() }
            value.withLock { $0 = result }
            done.signal()
        }.start()
    }

    func get() throws -> Value {
        guard done.wait(timeout: .now() + testLimit) == .success else { throw TimedOut(what: "a thread") }
        done.signal()
        return try value.withLock { $0! }.get()
    }
}
