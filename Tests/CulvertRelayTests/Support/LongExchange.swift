@testable import CulvertRelay

/// A client of an echo that says and hears as much as it takes until a test has seen what it waits for.
struct LongExchange {
    private static let pattern = Pattern(seed: 7)
    private let client: PlainSocket
    /// Bytes that have come back.
    private(set) var count = 0

    init(_ client: PlainSocket) { self.client = client }

    /// Sends so many more bytes and compares what comes back.
    mutating func move(_ more: Int) async throws {
        let client = client
        let pieces = stride(from: count, to: count + more, by: Pattern.longestPiece).map { [end = count + more] offset in
            (offset: offset, count: min(Pattern.longestPiece, end - offset))
        }
        async let writing: Void = onThread {
            for piece in pieces {
                try client.write(Self.pattern.withPiece(0, offset: piece.offset, count: piece.count) { Array($0) })
            }
        }
        try await onThread {
            for piece in pieces {
                let isRight = try client.read(exactly: piece.count).withUnsafeBytes { Self.pattern.matches($0, 0, offset: piece.offset) }
                guard isRight else { throw Failure("compare what came back: wrong bytes at \(piece.offset) or within the next \(piece.count)") }
            }
        }
        try await writing
        count += more
    }

    /// Goes on until `condition` holds.
    mutating func move(until what: String, _ condition: () async throws -> Bool) async throws {
        try await eventually(what) {
            try await move(1 << 20)
            return try await condition()
        }
    }

    func finish() async throws {
        client.finishWriting()
        let client = client
        let rest = try await onThread { try client.readToEnd() }
        guard rest.isEmpty else { throw Failure("\(rest.count) bytes came back that nobody sent") }
    }
}
