import Glibc
import Logging
import Synchronization

/// Where every log line of the process goes. Level and format can change while loggers are in use, so a reload reaches
/// those made before it.
public final class LogOutput: Sendable {
    private let descriptor: CInt
    private let clock: @Sendable () -> Double
    /// True if the journal reads the other end: it keeps its own time and takes a line's level from a `<N>` before it.
    private let toJournal: Bool
    private let state: Mutex<LogSettings>
    /// Apart from the settings, so that a slow reader of the log does not hold up those who only ask for the level.
    private let writing = Mutex(())

    /// - Parameters:
    ///   - descriptor: stays open as long as the process; lines to it are whole writes.
    ///   - clock: seconds since 1970.
    public init(
        descriptor: CInt = STDERR_FILENO, settings: LogSettings = LogSettings(), toJournal: Bool? = nil,
        clock: @escaping @Sendable () -> Double = secondsSince1970
    ) {
        self.descriptor = descriptor
        self.clock = clock
        self.toJournal = toJournal ?? Self.isJournal(descriptor)
        state = Mutex(settings)
    }

    public var settings: LogSettings {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }

    public func logger(_ label: String = "culvert") -> Logger {
        Logger(label: label) { _ in RelayLogHandler(output: self) }
    }

    func write(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata) {
        let line = LogLine(time: clock(), level: level, message: message, metadata: metadata)
        let text =
            switch settings.format {
            case .json: line.json
            case .text where toJournal: "<\(level.syslogPriority)>\(line.untimedText)"
            case .text: line.text
            }
        writing.withLock { _ in put(text + "\n") }
    }

    /// A log that nobody can take is dropped rather than let it stop the relay.
    private func put(_ text: String) {
        var text = text
        text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }

    /// JOURNAL_STREAM holds device and inode of the journal's socket (systemd.exec(5)).
    private static func isJournal(_ descriptor: CInt) -> Bool {
        var status = stat()
        guard let stream = getenv("JOURNAL_STREAM"), fstat(descriptor, &status) == 0 else { return false }
        return String(cString: stream) == "\(status.st_dev):\(status.st_ino)"
    }
}

public func secondsSince1970() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

extension Logger.Level {
    /// syslog(3)
    fileprivate var syslogPriority: Int {
        switch self {
        case .critical: 2
        case .error: 3
        case .warning: 4
        case .notice: 5
        case .info: 6
        case .debug, .trace: 7
        }
    }
}
