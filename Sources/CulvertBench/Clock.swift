import Glibc

/// Seconds of a clock.
enum Clock {
    static var now: Double { seconds(of: CLOCK_MONOTONIC) }

    /// User and system time of the calling thread.
    static var threadCPU: Double { seconds(of: CLOCK_THREAD_CPUTIME_ID) }

    /// User and system time of a process of this machine, to the nanosecond; nil if there is no such process.
    static func cpu(of process: pid_t) -> Double? {
        var clock = clockid_t()
        guard clock_getcpuclockid(process, &clock) == 0 else { return nil }
        return seconds(of: clock)
    }

    private static func seconds(of clock: clockid_t) -> Double {
        var now = timespec()
        clock_gettime(clock, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
