import Glibc
import Testing

@testable import CulvertProtocol

/// One direction of one stream of a pair: as much as there is space for goes in, all that arrives is compared and taken,
/// unless its reader has stopped.
final class Transfer {
    let key: Int
    let total: Int
    private let content: Content
    private(set) var written = 0
    private(set) var received = 0
    private(set) var isWrong = false
    private(set) var finished = false
    private(set) var ended = false
    var readerStopped = false
    /// The reader takes no byte behind this offset.
    var limit = Int.max
    var writerStopped = false
    /// The stream at the writing and at the reading end.
    fileprivate(set) var source: SessionStream?
    fileprivate(set) var sink: SessionStream?

    init(key: Int, total: Int) {
        self.key = key
        self.total = total
        content = Content(key: key)
    }

    var isDone: Bool { finished && ended && received == total && !isWrong }

    fileprivate func write(_ session: Session, _ now: UInt64) -> Bool {
        guard let source, !finished, !writerStopped else { return false }
        guard written < total else {
            session.finish(source, now: now)
            finished = true
            return true
        }
        let count = min(session.space(source), total - written)
        guard count > 0 else { return false }
        session.write(source, upTo: count, now: now) { (content.fill($0, from: written, count), ()) }
        written += count
        return true
    }

    fileprivate func take(_ pieces: UnsafeBufferPointer<iovec>) -> Int {
        guard !readerStopped else { return 0 }
        let count = min(pieces.reduce(0) { $0 + $1.iov_len }, max(0, limit - received))
        if !content.matches(pieces, from: received, count) { isWrong = true }
        received += count
        return count
    }

    fileprivate func read(_ session: Session, _ now: UInt64) -> Bool {
        guard let sink, !readerStopped else { return false }
        if sink.isDelivered { ended = true }
        guard sink.undelivered > 0 else { return false }
        let count = session.read(sink, pieces: 64) { take($0) }
        if count > 0 { session.consume(sink, count, now: now) }
        return count > 0
    }
}

/// Transfers in both directions over streams that the dialler opens.
final class Transfers {
    let pair: SessionPair
    private(set) var all: [Transfer] = []
    /// Most buffer memory in use so far, at the dialler and at the listener.
    private(set) var peak = [0, 0]

    init(_ pair: SessionPair) {
        self.pair = pair
        pair.establish()
        for side in 0...1 {
            pair.ends[side].act = { [unowned self] in act(side) }
            pair.ends[side].deliver = { [unowned self] stream, pieces in
                all.first { $0.sink === stream }?.take(pieces) ?? 0
            }
        }
        pair.listener.onEvent = { [unowned self] event in
            guard case .opened(let stream) = event, let key = Int(stream.service) else { return }
            for transfer in all where transfer.key / 2 == key {
                if transfer.key % 2 == 0 { transfer.sink = stream } else { transfer.source = stream }
            }
        }
    }

    /// Opens a stream that carries `up` bytes to the listener and `down` bytes back.
    func add(up: Int, down: Int = 0, priority: Priority = .auto) -> (up: Transfer, down: Transfer) {
        let number = all.count / 2
        let stream = pair.dialler.session.open(service: String(number), priority: priority, now: pair.now)
        let (up, down) = (Transfer(key: 2 * number, total: up), Transfer(key: 2 * number + 1, total: down))
        up.source = stream
        down.sink = stream
        all += [up, down]
        return (up, down)
    }

    private func act(_ side: Int) -> Bool {
        let session = pair.ends[side].session
        var did = false
        for transfer in all {
            let writes = transfer.key % 2 == side
            did = (writes ? transfer.write(session, pair.now) : transfer.read(session, pair.now)) || did
        }
        peak[side] = max(peak[side], pair.ends[side].pool.inUse)
        return did
    }

    func finish(_ what: Comment, location: SourceLocation = #_sourceLocation) {
        pair.run(what, location: location) { all.allSatisfy(\.isDone) }
        pair.settle()
        all = []
        for end in pair.ends { #expect(end.leftovers.isEmpty, what, sourceLocation: location) }
    }
}
