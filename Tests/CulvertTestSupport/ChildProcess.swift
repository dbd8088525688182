import Foundation
import Glibc
import Synchronization

/// A child process that never outlives its object, nor this process.
///
/// A thread of its own starts it and reaps it. The kernel kills the child if that thread ends, and so if this process
/// does, however it ends.
public final class ChildProcess: Sendable {
    public enum Exit: Sendable, Equatable {
        case code(Int32)
        case signal(Int32)
    }

    private enum State {
        case running(pid_t)
        case ended(pid_t, Exit)
    }

    private final class Shared: Sendable {
        let state = Mutex<State?>(nil)
        let startError = Mutex<Int32>(0)
    }

    private let shared = Shared()
    /// Where its standard output and standard error go.
    public let outputPath: String
    public let command: String

    /// Starts `executable`, looked up in PATH, with stdin from /dev/null unless `input` names a file.
    public init(
        _ executable: String, _ arguments: [String], output: String, errors: String? = nil, input: String = "/dev/null"
    ) throws {
        outputPath = output
        command = ([executable] + arguments).joined(separator: " ")
        let shared = shared
        let started = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            var pid: pid_t = 0
            let error = Self.spawn(
                ["setpriv", "--pdeathsig", "KILL", "--", executable] + arguments, input: input, output: output,
                errors: errors ?? output, pid: &pid)
            shared.startError.withLock { $0 = error }
            if error == 0 { shared.state.withLock { $0 = .running(pid) } }
            started.signal()
            if error == 0 { Self.reap(pid, shared) }
        }
        started.wait()
        let error = shared.startError.withLock { $0 }
        guard error == 0 else { throw SystemError("start \(executable)", code: error) }
    }

    deinit { kill() }

    public var pid: pid_t {
        switch shared.state.withLock({ $0 }) {
        case .running(let pid), .ended(let pid, _): pid
        case nil: preconditionFailure("a process is handed out started")
        }
    }

    /// Nil while it runs.
    public var exit: Exit? {
        if case .ended(_, let exit) = shared.state.withLock({ $0 }) { exit } else { nil }
    }

    /// Everything it has written so far.
    public var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }

    /// Sends a signal, unless it has ended.
    public func signal(_ number: Int32) {
        shared.state.withLock { state in
            if case .running(let pid) = state { _ = Glibc.kill(pid, number) }
        }
    }

    /// Kills it and waits until it is gone.
    public func kill() {
        signal(SIGKILL)
        for _ in 0..<1000 where exit == nil { usleep(5000) }
    }

    /// Waits until it ends by itself.
    public func waitForExit(limit: Duration = .seconds(30)) async throws -> Exit {
        try await waitUntil(limit: limit, "'\(command)' ends; it wrote: \(output)") { exit != nil }
        return exit!
    }

    /// `posix_spawn_file_actions_addclosefrom_np`, which bare Glibc does not declare: a child that holds a socket of ours
    /// keeps it open when it should be closed.
    private static let closeFrom = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map {
        unsafeBitCast($0, to: (@convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32).self)
    }

    private static func spawn(
        _ words: [String], input: String, output: String, errors: String, pid: inout pid_t
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        if errors == output {
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        } else {
            posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        }
        _ = closeFrom?(&actions, 3)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        // A group of its own, so that a Ctrl-C for the tests does not end it before they are done with it.
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        return posix_spawnp(&pid, words[0], &actions, &attributes, &arguments, environ)
    }

    /// Waits for the end without reaping first, so that `signal` can never hit another process of that number.
    private static func reap(_ pid: pid_t, _ shared: Shared) {
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        shared.state.withLock { state in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            let signal = status & 0x7f
            state = .ended(pid, signal == 0 ? .code((status >> 8) & 0xff) : .signal(signal))
        }
    }
}
