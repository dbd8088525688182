import CulvertIO
import Synchronization

/// Which peers there are, and the loop each lives on. Any thread may ask.
final class Directory: Sendable {
    struct Entry: Sendable {
        let loop: EventLoop
        let peer: LoopBound<Peer>
        var identity: String
    }

    private struct Content {
        var entries: [String: Entry] = [:]
        /// Peers that are configured no more, until the last of their streams is over.
        var retiring: [Int: Entry] = [:]
        var retired = 0
    }

    private let content = Mutex(Content())

    subscript(name: String) -> Entry? {
        get { content.withLock { $0.entries[name] } }
        set { content.withLock { $0.entries[name] = newValue } }
    }

    /// Names of those that are configured.
    var names: Set<String> { content.withLock { Set($0.entries.keys) } }

    /// All whose streams are not over, retiring ones included.
    var all: [Entry] { content.withLock { Array($0.entries.values) + $0.retiring.values } }

    /// Lets nobody find the peer any more. `forget` is to be called with the number when it is idle.
    func retire(_ name: String) -> (number: Int, entry: Entry)? {
        content.withLock { content in
            guard let entry = content.entries.removeValue(forKey: name) else { return nil }
            content.retired += 1
            content.retiring[content.retired] = entry
            return (content.retired, entry)
        }
    }

    func forget(_ number: Int) { content.withLock { $0.retiring[number] = nil } }

    /// Passes a connection to the peer whose identity is among `names`. False: there is none.
    func admit(_ connection: SecuredConnection, named names: [String]) -> Bool {
        let match = content.withLock { content in
            content.entries.values.first { names.contains($0.identity.lowercased()) }
        }
        guard let match else { return false }
        let box = Transferred(connection)
        return match.loop.execute { match.peer.value.admit(box.take()) }
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
