import Foundation
import Glibc

/// A blocking socket of a test's own, without any code of the relay. Every call ends within a limit.
final class PlainSocket: @unchecked Sendable {
    struct Failure: Error, CustomStringConvertible {
        var operation: String
        var code: CInt
        var description: String { "\(operation): \(String(cString: strerror(code)))" }
    }

    private static let limit = 20
    let descriptor: CInt

    private init(_ descriptor: CInt) {
        self.descriptor = descriptor
        var limit = timeval(tv_sec: Self.limit, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
    }

    deinit { close(descriptor) }

    static func listen(unix path: String, backlog: CInt = 1024) throws -> PlainSocket {
        let socket = PlainSocket(Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
        try socket.check("bind \(path)", withAddress(path) { bind(socket.descriptor, $0, $1) })
        try socket.check("listen", Glibc.listen(socket.descriptor, backlog))
        return socket
    }

    static func connect(unix path: String) throws -> PlainSocket {
        let socket = PlainSocket(Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
        try socket.check("connect \(path)", withAddress(path) { Glibc.connect(socket.descriptor, $0, $1) })
        return socket
    }

    static func connect(port: UInt16) throws -> PlainSocket {
        let socket = PlainSocket(Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try socket.check("connect port \(port)", result)
        return socket
    }

    func accept() throws -> PlainSocket {
        let accepted = Glibc.accept(descriptor, nil, nil)
        try check("accept", accepted)
        return PlainSocket(accepted)
    }

    func write(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                send(descriptor, $0.baseAddress! + sent, bytes.count - sent, CInt(MSG_NOSIGNAL))
            }
            try check("send", CInt(clamping: count))
            sent += count
        }
    }

    /// At most `limit` bytes; empty at the end.
    func read(_ limit: Int = 64 << 10) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: limit)
        let count = recv(descriptor, &buffer, limit, 0)
        try check("receive", CInt(clamping: count))
        return Array(buffer[..<count])
    }

    func read(exactly count: Int) throws -> [UInt8] {
        var result: [UInt8] = []
        while result.count < count {
            let piece = try read(count - result.count)
            if piece.isEmpty { throw Failure(operation: "receive: the stream ended after \(result.count) of \(count)", code: 0) }
            result += piece
        }
        return result
    }

    func readToEnd() throws -> [UInt8] {
        var result: [UInt8] = []
        while true {
            let piece = try read()
            if piece.isEmpty { return result }
            result += piece
        }
    }

    func finishWriting() { shutdown(descriptor, CInt(SHUT_WR)) }

    private func check(_ operation: String, _ result: CInt) throws {
        if result < 0 { throw Failure(operation: operation, code: errno) }
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }
}

/// Runs blocking work on a thread of its own.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

/// Waits until `condition` holds; an error names what did not happen.
func eventually(
    _ what: String, within limit: Duration = .seconds(20), _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        if ContinuousClock.now > deadline { throw PlainSocket.Failure(operation: "waiting until \(what)", code: ETIMEDOUT) }
        try await Task.sleep(for: .milliseconds(5))
    }
}
