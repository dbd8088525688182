import Glibc

/// Tells the service manager how the daemon is, by the protocol of sd_notify(3). Does nothing where nobody asked.
public struct ServiceNotifier: Sendable {
    private let socketPath: String?
    /// How often the service manager wants to hear that the daemon is well; nil if it does not watch.
    public let watchdogInterval: Duration?

    /// - Parameter environment: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked at.
    public init(environment: [String: String]) {
        socketPath = environment["NOTIFY_SOCKET"].flatMap { $0.hasPrefix("/") || $0.hasPrefix("@") ? $0 : nil }
        let isForUs = environment["WATCHDOG_PID"].map { $0 == String(getpid()) } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap(Int64.init) ?? 0
        // sd_watchdog_enabled(3) recommends half of the time after which the manager acts.
        watchdogInterval = isForUs && microseconds > 0 ? .microseconds(microseconds / 2) : nil
    }

    public enum State: Sendable, Equatable {
        case ready
        case reloading
        /// The manager waits this long for the end instead of what its unit says.
        case stopping(within: Duration)
        case alive
    }

    public func send(_ state: State, status: String? = nil) {
        var lines: [String]
        switch state {
        case .ready: lines = ["READY=1"]
        case .reloading: lines = ["RELOADING=1", "MONOTONIC_USEC=\(Self.monotonicMicroseconds())"]
        case .stopping(let limit):
            lines = ["STOPPING=1", "EXTEND_TIMEOUT_USEC=\(limit.components.seconds * 1_000_000)"]
        case .alive: lines = ["WATCHDOG=1"]
        }
        if let status { lines.append("STATUS=\(status)") }
        send(lines.joined(separator: "\n"))
    }

    /// A manager that cannot be reached is not the daemon's to mend, so failures are left alone.
    private func send(_ message: String) {
        guard let socketPath else { return }
        let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let bytes = Array(message.utf8)
        _ = try? UnixSocket.withAddress(socketPath, abstract: true) { address, length in
            sendto(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL), address, length)
        }
    }

    private static func monotonicMicroseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
    }
}
