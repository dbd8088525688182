import Glibc

/// Measures from its making to its report: wall time and this process's CPU time.
struct Stopwatch {
    private let started = seconds(CLOCK_MONOTONIC)
    private let cpu = seconds(CLOCK_PROCESS_CPUTIME_ID)

    /// Seconds since it was made.
    var elapsed: Double { seconds(CLOCK_MONOTONIC) - started }

    static func rest(microseconds: Int) {
        if microseconds > 0 { usleep(UInt32(microseconds)) }
    }

    /// Prints one line of JSON. Rates are in megabytes (10⁶ bytes) a second, times in seconds.
    func report(bytes: Int) {
        let finished = seconds(CLOCK_MONOTONIC)
        let taken = finished - started
        let cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu
        print(
            #"{"bytes":\#(bytes),"seconds":\#(taken),"mbps":\#(Double(bytes) / taken / 1e6),"cpu":\#(cpu),"#
                + #""started":\#(started),"finished":\#(finished)}"#)
        flushOutput()
    }
}

/// So that a program reading through a pipe sees each line when it is printed.
func flushOutput() { fflush(nil) }

private func seconds(_ clock: clockid_t) -> Double {
    var now = timespec()
    clock_gettime(clock, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}
