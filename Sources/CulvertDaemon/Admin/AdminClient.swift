import CulvertRelay
import Foundation
import Glibc

/// A request to a relay's admin interface that did not succeed.
public struct AdminClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The HTTP status of the answer; nil if there was none.
    public var status: Int?
    public var description: String

    init(status: Int? = nil, _ description: String) {
        self.status = status
        self.description = description
    }
}

/// Talks to a running relay. Blocks the calling thread, at most `timeout` for each step.
public struct AdminClient: Sendable {
    public let path: String
    /// Seconds.
    let timeout: Int

    public init(path: String = Configuration.defaultAdmin, timeout: Int = 10) {
        self.path = path
        self.timeout = timeout
    }

    public func status() throws(AdminClientError) -> RelayStatus {
        try decode(request("GET", "/v1/status"))
    }

    public func forwards() throws(AdminClientError) -> [ForwardStatus] {
        try decode(request("GET", "/v1/forwards"))
    }

    public func forward(id: String) throws(AdminClientError) -> ForwardStatus {
        try decode(request("GET", "/v1/forwards/\(id)"))
    }

    public func addForward(_ forward: ForwardRequest) throws(AdminClientError) -> ForwardStatus {
        // Fails only for values that JSON cannot express.
        try decode(request("POST", "/v1/forwards", body: try! AdminJSON.encoder.encode(forward)))
    }

    public func removeForward(id: String) throws(AdminClientError) {
        _ = try request("DELETE", "/v1/forwards/\(id)")
    }

    public func renewForward(id: String) throws(AdminClientError) -> ForwardStatus {
        try decode(request("POST", "/v1/forwards/\(id)/renew"))
    }

    // MARK: HTTP

    /// The body of a successful answer.
    func request(_ method: String, _ target: String, body: Data = Data()) throws(AdminClientError) -> Data {
        let descriptor: CInt
        do throws(SystemError) {
            descriptor = try UnixSocket.connect(path)
        } catch {
            throw noRelay(error)
        }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        let head = """
            \(method) \(target) HTTP/1.1\r
            Host: culvert\r
            Connection: close\r
            Content-Type: application/json\r
            Content-Length: \(body.count)\r
            \r

            """
        try send(Data(head.utf8) + body, to: descriptor)
        let answer = try HTTPAnswer(receive(from: descriptor), from: path)
        guard (200..<300).contains(answer.status) else {
            let failure = try? JSONDecoder().decode(AdminFailure.self, from: answer.body)
            throw AdminClientError(
                status: answer.status,
                failure?.error ?? "the relay at \(path) answered \(method) \(target) with \(answer.status)")
        }
        return answer.body
    }

    private func decode<Value: Decodable>(_ body: Data) throws(AdminClientError) -> Value {
        do {
            return try JSONDecoder().decode(Value.self, from: body)
        } catch {
            throw AdminClientError("cannot understand the relay at \(path): \(error); is it of another version?")
        }
    }

    private func noRelay(_ error: SystemError) -> AdminClientError {
        switch error.code {
        case EACCES, EPERM:
            AdminClientError(
                "may not talk to the relay at \(path): \(error.reason); run as root or as a member of the socket's group"
            )
        default:
            AdminClientError(
                "no relay answers at \(path): \(error.reason); is `culvert serve` running? name its socket with --admin"
            )
        }
    }

    private func send(_ data: Data, to descriptor: CInt) throws(AdminClientError) {
        var sent = 0
        while sent < data.count {
            let count = data.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + sent, data.count - sent, CInt(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            // The answer may be waiting even so: a server refuses what is too large without reading it all.
            if count < 0, errno == EPIPE || errno == ECONNRESET { return }
            guard count > 0 else { throw broken() }
            sent += count
        }
    }

    private func receive(from descriptor: CInt) throws(AdminClientError) -> Data {
        var answer = Data()
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            if count == 0 || (count < 0 && errno == ECONNRESET) { return answer }
            guard count > 0 else { throw broken() }
            answer.append(contentsOf: chunk[..<count])
        }
    }

    private func broken() -> AdminClientError {
        errno == EAGAIN
            ? AdminClientError("the relay at \(path) did not answer within \(timeout) s; its log may say why")
            : AdminClientError("lost the relay at \(path): \(SystemError("").reason)")
    }
}

/// One HTTP/1.1 answer, complete.
struct HTTPAnswer: Equatable {
    var status: Int
    var body: Data

    init(_ data: Data, from path: String) throws(AdminClientError) {
        guard let end = data.range(of: Data("\r\n\r\n".utf8)) else {
            throw AdminClientError("the relay at \(path) broke off before it answered; its log may say why")
        }
        let lines = String(decoding: data[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        let words = lines[0].split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
            throw AdminClientError("what answers at \(path) is not a culvert relay")
        }
        let lengthHeader = lines.dropFirst().first { $0.lowercased().hasPrefix("content-length:") }
        let length = lengthHeader.flatMap {
            Int($0.drop { $0 != ":" }.dropFirst().trimmingCharacters(in: .whitespaces))
        }
        let body = data[end.upperBound...]
        if let length, body.count < length {
            throw AdminClientError("the relay at \(path) broke off in the middle of its answer")
        }
        self.status = status
        self.body = Data(body)
    }
}
