import CulvertIO
import CulvertProtocol

/// What two relays tell each other about one bypass: lines on a stream of their own, which has its place in the session like
/// any other and so survives lost lanes. Its local socket leads back into this relay, to here.
final class BypassNotes: EventHandler {
    enum Note: Equatable {
        /// The sender asks for its direction of a stream to be carried past the session.
        case carry(stream: UInt64, token: SessionID)
        /// The receiver waits for the sender to make the connection.
        case dial
        /// The receiver has the connection.
        case ready
        /// What follows this offset of the stream comes on the connection.
        case from(UInt64)
        /// So many bytes went over the connection, and there will be no more.
        case length(UInt64)
        /// All of them were delivered.
        case done
        /// The receiver would rather not.
        case no(String)
    }

    /// Bytes of a line, at most.
    private static let longest = 512

    private let loop: EventLoop
    private let descriptor: Descriptor
    /// Until the stream has ended: while the peer may still say something, there has to be somebody to hear it.
    private var registration: Registration?
    private var isClosed = false
    private var text: [UInt8] = []
    /// What the socket has not taken yet.
    private var unsent: [UInt8] = []
    private let take: (Note) -> Void
    private let ended: () -> Void

    /// - Parameters:
    ///   - take: gets what the peer says.
    ///   - ended: called once, when nothing more will come.
    init(
        _ descriptor: consuming Descriptor, loop: EventLoop, take: @escaping (Note) -> Void, ended: @escaping () -> Void
    ) throws(IOError) {
        self.loop = loop
        self.take = take
        self.ended = ended
        self.descriptor = descriptor
        registration = try loop.register(self.descriptor, self)
    }

    func send(_ note: Note) {
        unsent += (note.line + "\n").utf8
        flush()
    }

    private func flush() {
        while !unsent.isEmpty {
            switch unsent.withUnsafeBytes({ descriptor.write($0) }) {
            case .bytes(let count): unsent.removeFirst(count)
            case .wouldBlock: return
            // Reading tells it too.
            case .endOfStream, .failed: unsent = []
            }
        }
        if isClosed { descriptor.shutdownWrite() }
    }

    /// Says no more than it has said, and hears no more.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        flush()
    }

    func ready(_ events: ReadyEvents) {
        if events.contains(.writable), !unsent.isEmpty { flush() }
        guard events.contains(.readable) else { return }
        withUnsafeTemporaryAllocation(byteCount: Self.longest, alignment: 1) { buffer in
            while registration != nil {
                switch descriptor.read(into: buffer) {
                case .bytes(let count):
                    text += buffer[..<count]
                    takeLines()
                case .wouldBlock: return
                case .endOfStream, .failed:
                    if let registration = registration.take() { loop.deregister(registration) }
                    return end()
                }
            }
        }
    }

    private func takeLines() {
        while !isClosed, let end = text.firstIndex(of: UInt8(ascii: "\n")) {
            guard let note = Note(line: String(decoding: text[..<end], as: UTF8.self)) else { return self.end() }
            text.removeFirst(end + 1)
            take(note)
        }
        if isClosed { text = [] }
        if text.count > Self.longest { end() }
    }

    private func end() {
        guard !isClosed else { return }
        close()
        ended()
    }
}

extension BypassNotes.Note {
    fileprivate var line: String {
        switch self {
        case .carry(let stream, let token): "carry \(stream) \(token)"
        case .dial: "dial"
        case .ready: "ready"
        case .from(let offset): "from \(offset)"
        case .length(let count): "length \(count)"
        case .done: "done"
        case .no(let text): "no \(text)"
        }
    }

    init?(line: String) {
        let words = line.split(separator: " ", maxSplits: 2)
        switch (words.first, words.count) {
        case ("carry", 3):
            guard let stream = UInt64(words[1]), let token = SessionID(String(words[2])) else { return nil }
            self = .carry(stream: stream, token: token)
        case ("dial", 1): self = .dial
        case ("ready", 1): self = .ready
        case ("from", 2):
            guard let offset = UInt64(words[1]) else { return nil }
            self = .from(offset)
        case ("length", 2):
            guard let count = UInt64(words[1]) else { return nil }
            self = .length(count)
        case ("done", 1): self = .done
        case ("no", 2...): self = .no(String(line.dropFirst(3)))
        default: return nil
        }
    }
}

extension SessionID {
    /// As `description` writes it: 32 hexadecimal digits.
    fileprivate init?(_ text: String) {
        guard text.utf8.count == 32, let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }
}
