import Glibc

/// What a daemon asks of its process before it does anything else.
public enum ProcessSetup {
    /// Every stream takes a descriptor, so the soft limit goes up to the hard one. A socket whose reader has gone is
    /// reported by its write, not by SIGPIPE.
    public static func prepare() {
        signal(SIGPIPE, SIG_IGN)
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
    }
}

/// What the operator or the service manager tells the daemon.
public enum DaemonSignal: Sendable, Equatable {
    /// SIGHUP
    case reload
    /// SIGTERM, SIGINT
    case stop
}

/// Takes the daemon's signals synchronously, on a thread that does nothing else.
public enum SignalThread {
    private static var set: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGHUP, SIGTERM, SIGINT] { sigaddset(&set, signal) }
        return set
    }

    /// Threads inherit the mask, so this goes before the first of them starts.
    public static func block() {
        var set = set
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Hands on each signal and never returns; the process ends otherwise.
    public static func run(_ handle: (DaemonSignal) -> Void) -> Never {
        var set = set
        while true {
            var signal: CInt = 0
            guard sigwait(&set, &signal) == 0 else { continue }
            handle(signal == SIGHUP ? .reload : .stop)
        }
    }
}
