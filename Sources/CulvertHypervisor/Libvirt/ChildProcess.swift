import CLinux
import Foundation
import Glibc
import Synchronization

/// A program that runs, its output kept, and that never outlives this process.
///
/// A thread of its own starts it, reads what it writes and reaps it; the kernel kills the child if that thread ends.
final class ChildProcess: Sendable {
    struct Outcome: Sendable, Equatable {
        /// What it exited with; nil if a signal ended it.
        var status: Int32?
        var output: String
        var errors: String
    }

    /// Why it could not be started: an errno.
    struct StartError: Error, Equatable {
        let code: Int32
    }

    /// The most that is kept of each of its outputs, in bytes; the rest is read and dropped.
    private static let longestOutput = 4 << 20

    private enum State {
        case running(pid_t, [CheckedContinuation<Outcome, Never>])
        case ended(Outcome)
    }

    private final class Shared: Sendable {
        let state: Mutex<State>
        init(_ state: State) { self.state = Mutex(state) }
    }

    private let shared: Shared

    /// Starts `words[0]`, looked up in PATH.
    static func start(_ words: [String], environment: [String: String]) async throws(StartError) -> ChildProcess {
        let result = await withCheckedContinuation { (waiter: CheckedContinuation<Result<ChildProcess, StartError>, Never>) in
            Thread.detachNewThread { run(words, environment, started: waiter) }
        }
        return try result.get()
    }

    private init(_ shared: Shared) { self.shared = shared }

    deinit { signal(SIGKILL) }

    /// How it ended, or nil while it runs.
    var outcome: Outcome? {
        shared.state.withLock { if case .ended(let outcome) = $0 { outcome } else { nil } }
    }

    /// Waits until it ends. A cancelled task kills it.
    func wait() async -> Outcome {
        await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let ended = shared.state.withLock { state -> Outcome? in
                    switch state {
                    case .ended(let outcome): return outcome
                    case .running(let pid, let waiters):
                        state = .running(pid, waiters + [waiter])
                        return nil
                    }
                }
                if let ended { waiter.resume(returning: ended) }
            }
        } onCancel: {
            signal(SIGKILL)
        }
    }

    /// Sends a signal to it and to what it has started, unless it has ended.
    func signal(_ number: Int32) {
        shared.state.withLock { state in
            if case .running(let pid, _) = state { _ = Glibc.kill(-pid, number) }
        }
    }

    // MARK: The thread

    private static func run(
        _ words: [String], _ environment: [String: String], started: CheckedContinuation<Result<ChildProcess, StartError>, Never>
    ) {
        guard let output = Pipe.open() else { return started.resume(returning: .failure(StartError(code: errno))) }
        guard let errors = Pipe.open() else {
            output.closeBoth()
            return started.resume(returning: .failure(StartError(code: errno)))
        }
        let pid = withCStrings(words) { arguments in
            withCStrings(environment.map { "\($0)=\($1)" }) { environment in
                clinux_spawn(arguments, environment, output.write, errors.write)
            }
        }
        close(output.write)
        close(errors.write)
        defer {
            close(output.read)
            close(errors.read)
        }
        guard pid > 0 else { return started.resume(returning: .failure(StartError(code: -pid))) }
        let shared = Shared(.running(pid, []))
        started.resume(returning: .success(ChildProcess(shared)))
        var texts = [Data(), Data()]
        drain([output.read, errors.read], into: &texts)
        reap(pid, shared, texts.map { String(decoding: $0, as: UTF8.self) })
    }

    /// Reads both until their ends.
    private static func drain(_ descriptors: [Int32], into texts: inout [Data]) {
        var waiting = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while waiting.contains(where: { $0.fd >= 0 }) {
            guard poll(&waiting, nfds_t(waiting.count), -1) > 0 else { continue }
            for index in waiting.indices where waiting[index].fd >= 0 && waiting[index].revents != 0 {
                let count = read(waiting[index].fd, &chunk, chunk.count)
                if count > 0 {
                    texts[index].append(contentsOf: chunk[..<min(count, longestOutput - texts[index].count)])
                } else if count == 0 || errno != EINTR {
                    // poll passes over negative ones.
                    waiting[index].fd = -1
                }
            }
        }
    }

    /// Waits for the end without reaping first, so that `signal` can never hit another process of that number.
    private static func reap(_ pid: pid_t, _ shared: Shared, _ texts: [String]) {
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        let (outcome, waiters) = shared.state.withLock { state in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            let exited = status & 0x7f == 0
            let outcome = Outcome(status: exited ? (status >> 8) & 0xff : nil, output: texts[0], errors: texts[1])
            guard case .running(_, let waiters) = state else { preconditionFailure("a process ends once") }
            state = .ended(outcome)
            return (outcome, waiters)
        }
        for waiter in waiters { waiter.resume(returning: outcome) }
    }

    private struct Pipe {
        let read: Int32
        let write: Int32

        static func open() -> Pipe? {
            var ends: [Int32] = [-1, -1]
            guard pipe(&ends) == 0 else { return nil }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            return Pipe(read: ends[0], write: ends[1])
        }

        func closeBoth() {
            close(read)
            close(write)
        }
    }
}

/// Calls `body` with a list of C strings that ends with NULL.
private func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    return body(&pointers)
}
