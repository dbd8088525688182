import Foundation
import Synchronization

/// A directory and the processes that work in it, gone together: at the end, after a failure, and on a signal.
public final class Scratch: Sendable {
    public let path: String
    /// Nil once everything is removed; nothing is started any more then.
    private let processes = Mutex<Set<pid_t>?>([])

    public init() throws {
        let parent = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        var template = Array("\(parent)/culvert-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw BenchError("cannot make a directory below \(parent): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { remove() }

    /// Kills the processes and removes the directory. May be called from any thread, and again.
    public func remove() {
        processes.withLock { processes in
            for process in processes ?? [] { Self.end(process) }
            if processes != nil { try? FileManager.default.removeItem(atPath: path) }
            processes = nil
        }
    }

    /// Starts a program whose output goes to `log`, with no descriptor and no signal setting of ours.
    func start(_ words: [String], log: String) throws -> pid_t {
        try processes.withLock { processes in
            guard processes != nil else { throw BenchError("interrupted") }
            let process = try Self.spawn(words, log: log)
            processes!.insert(process)
            return process
        }
    }

    /// Kills a process and waits for it.
    func stop(_ process: pid_t) {
        processes.withLock { processes in
            if processes?.remove(process) != nil { Self.end(process) }
        }
    }

    /// Whether it has ended by itself. It stays to be stopped.
    func hasEnded(_ process: pid_t) -> Bool {
        processes.withLock { processes in
            guard processes?.contains(process) == true else { return true }
            var info = siginfo_t()
            let result = waitid(P_PID, id_t(process), &info, WEXITED | WNOHANG | WNOWAIT)
            return result != 0 || info.si_signo == SIGCHLD
        }
    }

    private static func end(_ process: pid_t) {
        kill(process, SIGKILL)
        while waitpid(process, nil, 0) < 0, errno == EINTR {}
    }

    private static func spawn(_ words: [String], log: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        // A group of its own: a terminal's Ctrl-C is for us, and we end it.
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process: pid_t = 0
        let error = posix_spawn(&process, words[0], &actions, &attributes, &arguments, environ)
        guard error == 0 else { throw BenchError("cannot start \(words[0]): \(String(cString: strerror(error)))") }
        return process
    }
}
