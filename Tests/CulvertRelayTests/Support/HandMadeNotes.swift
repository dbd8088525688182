/// What a hand-made peer and a relay tell each other about a bypass. Blocks; belongs to one thread.
final class HandMadeNotes {
    private let session: HandMadePeer
    private let stream: UInt64
    private var said: UInt64 = 0
    private var heard: [UInt8] = []

    /// On a stream that the peer opens, which is the next of its own.
    init(_ session: HandMadePeer, opening stream: UInt64) throws {
        (self.session, self.stream) = (session, stream)
        try session.send(.open(stream, "culvert/bypass"))
    }

    /// On the stream that the relay opens next.
    init(openedOn session: HandMadePeer) throws {
        let open = try session.receive(Frame.Kind.open)
        (self.session, stream) = (session, open.stream)
        heard = open.firstBytes
    }

    func say(_ line: String) throws {
        let bytes = Array("\(line)\n".utf8)
        try session.send(.data(stream, at: said, bytes))
        said += UInt64(bytes.count)
    }

    /// The next line. Passes over frames of other streams.
    func hear() throws -> String {
        while true {
            if let end = heard.firstIndex(of: UInt8(ascii: "\n")) {
                defer { heard.removeFirst(end + 1) }
                return String(decoding: heard[..<end], as: UTF8.self)
            }
            let frame = try session.receive(Frame.Kind.data)
            if frame.stream == stream { heard += frame.body[8...] }
        }
    }

    /// What begins with `word`.
    func hear(_ word: String) throws -> Substring {
        let line = try hear()
        guard line == word || line.hasPrefix(word + " ") else { throw Failure("'\(line)' where '\(word)' was due") }
        return line.dropFirst(word.utf8.count + 1)
    }
}
