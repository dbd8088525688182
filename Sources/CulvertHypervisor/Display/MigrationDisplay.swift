import Foundation
import Synchronization

/// Shows what a migration reports, on a terminal, in a log or to a program.
public final class MigrationDisplay: Sendable {
    public enum Style: Sendable {
        /// A bar that is redrawn in place.
        case bar
        /// A line for each stage and every few seconds.
        case lines
        /// A JSON object a line for each event.
        case json
        /// Nothing.
        case quiet
    }

    private struct State {
        var drawn = false
        /// `elapsed` of the last progress written as a line.
        var lastLine: Double?
    }

    /// Seconds between two lines in a log.
    private static let lineInterval = 5.0
    /// To the line's start; and removes what is right of there.
    private static let home = "\r", clearLine = "\u{1B}[K"

    private let style: Style
    private let destination: String
    private let width: @Sendable () -> Int
    private let write: @Sendable (String) -> Void
    private let state = Mutex(State())

    /// - Parameters:
    ///   - destination: what the summary calls the far side.
    ///   - width: the terminal's columns at this moment.
    public init(
        style: Style, destination: String, width: @escaping @Sendable () -> Int = { 80 },
        write: @escaping @Sendable (String) -> Void
    ) {
        self.style = style
        self.destination = destination
        self.width = width
        self.write = write
    }

    /// To be called by one task at a time.
    public func show(_ event: MigrationEvent) {
        switch style {
        case .quiet: break
        case .json: write(Self.json(event))
        case .bar: showInPlace(event)
        case .lines: showAsLine(event)
        }
    }

    private func showInPlace(_ event: MigrationEvent) {
        switch event {
        case .progress(let progress):
            draw(ProgressLine.bar(progress, width: width()))
        case .stage(let stage):
            draw(String("\(stage.rawValue)…".prefix(max(width() - 1, 0))))
        case .notice(let text):
            wipe()
            write("\(text)\n")
        case .summary(let summary):
            wipe()
            write(SummaryText.text(summary, to: destination))
        case .failure:
            // The command says what went wrong on stderr.
            wipe()
        }
    }

    private func showAsLine(_ event: MigrationEvent) {
        switch event {
        case .progress(let progress):
            let due = state.withLock { state in
                if let last = state.lastLine, progress.elapsed - last < Self.lineInterval { return false }
                state.lastLine = progress.elapsed
                return true
            }
            if due { write("\(ProgressLine.plain(progress))\n") }
        case .stage(let stage):
            write("\(stage.rawValue)\n")
        case .notice(let text):
            write("\(text)\n")
        case .summary(let summary):
            write(SummaryText.text(summary, to: destination))
        case .failure:
            break
        }
    }

    private func draw(_ line: String) {
        state.withLock { $0.drawn = true }
        write(Self.home + line + Self.clearLine)
    }

    private func wipe() {
        let drawn = state.withLock { state in
            defer { state.drawn = false }
            return state.drawn
        }
        if drawn { write(Self.home + Self.clearLine) }
    }

    private static func json(_ event: MigrationEvent) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let line = try? encoder.encode(event) else { preconditionFailure("an event is always JSON") }
        return String(decoding: line, as: UTF8.self) + "\n"
    }
}
