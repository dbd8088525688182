import Logging
import Synchronization

/// What relays log, kept.
final class Journal: Sendable {
    struct Entry: Sendable, CustomStringConvertible {
        var relay: String
        var level: Logger.Level
        var message: String
        var metadata: Logger.Metadata

        var description: String {
            "\(relay) \(level): \(message)" + metadata.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        }
    }

    private let kept = Mutex<[Entry]>([])

    var entries: [Entry] { kept.withLock { $0 } }

    /// Forgets what it has, and gives it.
    func take() -> [Entry] { kept.withLock { exchange(&$0, with: []) } }

    func logger(of relay: String) -> Logger {
        Logger(label: relay) { _ in Handler(journal: self, relay: relay) }
    }

    private struct Handler: LogHandler {
        let journal: Journal
        let relay: String
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
            let entry = Entry(relay: relay, level: event.level, message: event.message.description, metadata: all)
            journal.kept.withLock { $0.append(entry) }
        }
    }
}

extension Journal {
    /// Waits until `relay` has logged, at `level`, what contains `text`.
    func expect(_ text: String, by relay: String, at level: Logger.Level = .warning) async throws {
        try await eventually("\(relay) logs '\(text)'; it logged \(entries)") {
            entries.contains { $0.relay == relay && $0.level == level && $0.message.contains(text) }
        }
    }
}
