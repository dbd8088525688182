import Dispatch
import Foundation

/// Turns the signals by which people and systems end a command into a call, until stopped.
final class CancellingSignals {
    private static let reasons: [(signal: Int32, reason: String)] = [
        (SIGINT, "it was interrupted"), (SIGTERM, "it was terminated"), (SIGHUP, "its terminal was lost"),
    ]

    private let sources: [any DispatchSourceSignal]

    init(cancel: @escaping @Sendable (String) -> Void) {
        // A terminal or a pipe that has gone must not end the command before it has put the guest back.
        signal(SIGPIPE, SIG_IGN)
        sources = Self.reasons.map { number, reason in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { cancel(reason) }
            source.resume()
            return source
        }
    }

    func stop() {
        for source in sources { source.cancel() }
    }
}
