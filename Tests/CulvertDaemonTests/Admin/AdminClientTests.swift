import Foundation
import Testing

@testable import CulvertDaemon

@Suite(.timeLimit(.minutes(1))) struct AdminClientTests {
    @Test func absentRelayIsExplained() {
        let error = #expect(throws: AdminClientError.self) { try AdminClient(path: "/nonexistent/a.sock").status() }
        #expect(
            error?.description
                == "no relay answers at /nonexistent/a.sock: No such file or directory; is `culvert serve` running? "
                + "name its socket with --admin")
    }

    @Test func deadRelayIsExplained() throws {
        let directory = try TemporaryDirectory()
        close(try listening(at: directory("a.sock")))
        let error = #expect(throws: AdminClientError.self) { try AdminClient(path: directory("a.sock")).status() }
        #expect(error?.description.contains("Connection refused; is `culvert serve` running?") == true)
    }

    @Test func pathBeyondTheKernelsLimitIsExplained() {
        let path = "/" + String(repeating: "x", count: 107)
        let error = #expect(throws: AdminClientError.self) { try AdminClient(path: path).status() }
        #expect(error?.description.contains("File name too long") == true)
    }

    @Test func silentRelayIsGivenUp() throws {
        let directory = try TemporaryDirectory()
        let listener = try listening(at: directory("a.sock"))
        defer { close(listener) }
        let error = #expect(throws: AdminClientError.self) {
            try AdminClient(path: directory("a.sock"), timeout: 1).status()
        }
        #expect(
            error?.description == "the relay at \(directory("a.sock")) did not answer within 1 s; its log may say why")
    }

    @Test(arguments: [
        ("", "the relay at p broke off before it answered; its log may say why"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "the relay at p broke off before it answered; its log may say why"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "what answers at p is not a culvert relay"),
        ("HTTP/1.1 two OK\r\n\r\n", "what answers at p is not a culvert relay"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcd", "the relay at p broke off in the middle of its answer"),
    ])
    func brokenAnswersAreErrors(text: String, message: String) {
        #expect(throws: AdminClientError(message)) { try HTTPAnswer(Data(text.utf8), from: "p") }
    }

    @Test func answersAreRead() throws {
        let answer = try HTTPAnswer(Data("HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nab".utf8), from: "p")
        #expect(answer.status == 409)
        #expect(answer.body == Data("ab".utf8))
    }

    private func listening(at path: String) throws -> CInt {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        let bound = try UnixSocket.withAddress(path) { bind(descriptor, $0, $1) }
        #expect(bound == 0 && listen(descriptor, 1) == 0)
        return descriptor
    }
}
