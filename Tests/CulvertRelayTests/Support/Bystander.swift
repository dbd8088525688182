import CulvertIO
import Testing

@testable import CulvertRelay

/// A client of an echo that says something before and after what a test does to others.
struct Bystander {
    private let client: PlainSocket

    init(_ client: PlainSocket) async throws {
        self.client = client
        try await exchange("before")
    }

    func exchange(_ text: String) async throws {
        let client = client
        let answer = try await onThread {
            try client.write(text)
            return try client.read(exactly: text.utf8.count)
        }
        try #require(answer == Array(text.utf8))
    }

    /// Shows that the stream still carries both directions, and ends it cleanly.
    func finish() async throws {
        try await exchange("after")
        let client = client
        client.finishWriting()
        let rest = try await onThread { try client.readToEnd() }
        #expect(rest == [])
    }
}

/// What the client of a socket sees that is refused: nothing, then the end.
func readUntilOver(_ client: PlainSocket) async throws -> [UInt8] {
    try await onThread { client.readUntilOver().bytes }
}

/// The errno of a connect that has to fail; 0 if it does not.
func connectError(_ endpoint: Endpoint) async throws -> CInt {
    try await onThread {
        do {
            _ = try PlainSocket.connect(endpoint)
            return 0
        } catch let failure as Failure {
            return failure.code
        }
    }
}
