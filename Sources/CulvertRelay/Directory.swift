import CulvertIO
import Synchronization

/// Which peers there are, and the loop each lives on. Any thread may ask.
final class Directory: Sendable {
    struct Entry: Sendable {
        let loop: EventLoop
        let peer: LoopBound<Peer>
        var identity: String
    }

    private let entries = Mutex<[String: Entry]>([:])

    subscript(name: String) -> Entry? {
        get { entries.withLock { $0[name] } }
        set { entries.withLock { $0[name] = newValue } }
    }

    var all: [String: Entry] { entries.withLock { $0 } }

    /// Passes a connection to the peer whose identity is among `names`. False: there is none.
    func admit(_ connection: SecuredConnection, named names: [String]) -> Bool {
        let match = entries.withLock { entries in entries.values.first { names.contains($0.identity.lowercased()) } }
        guard let match else { return false }
        let box = Transferred(connection)
        return match.loop.execute { match.peer.value.adopt(box.take(), dialled: false) }
    }
}

extension EventLoop {
    /// Runs `body` on the loop and waits for its result; nil if the loop has ended.
    func run<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result? {
        await withCheckedContinuation { continuation in
            let accepted = execute { continuation.resume(returning: body()) }
            if !accepted { continuation.resume(returning: nil) }
        }
    }
}
