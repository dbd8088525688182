import Foundation
import Glibc
import Synchronization

/// A blocking stream socket, for tests that play a peer. Closed with its object; `shutdown` ends what blocks on it.
public final class StreamSocket: Sendable {
    public let descriptor: Int32

    private init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    public static func listen(unix path: String) throws -> StreamSocket {
        let socket = try make()
        try check(withAddress(path) { bind(socket.descriptor, $0, $1) }, "bind \(path)")
        try check(Glibc.listen(socket.descriptor, 64), "listen \(path)")
        return socket
    }

    public static func connect(unix path: String) throws -> StreamSocket {
        let socket = try make()
        try check(withAddress(path) { Glibc.connect(socket.descriptor, $0, $1) }, "connect \(path)")
        return socket
    }

    /// Nil once the listener is shut down.
    public func accept() -> StreamSocket? {
        let fd = Glibc.accept(descriptor, nil, nil)
        guard fd >= 0 else { return nil }
        _ = fcntl(fd, F_SETFD, FD_CLOEXEC)
        return StreamSocket(descriptor: fd)
    }

    /// At most `limit` bytes; empty at the end.
    public func read(upTo limit: Int = 256 << 10) throws -> [UInt8] {
        let bytes = try [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            var result = Glibc.read(descriptor, buffer.baseAddress, limit)
            while result < 0, errno == EINTR { result = Glibc.read(descriptor, buffer.baseAddress, limit) }
            guard result >= 0 else { throw SystemError("read") }
            count = result
        }
        return bytes
    }

    public func write(_ bytes: some Sequence<UInt8>) throws {
        let bytes = Array(bytes)
        var sent = 0
        while sent < bytes.count {
            let result = bytes[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if result < 0, errno == EINTR { continue }
            guard result >= 0 else { throw SystemError("write") }
            sent += result
        }
    }

    public func shutdown(_ how: Int = SHUT_RDWR) { _ = Glibc.shutdown(descriptor, Int32(how)) }

    private static func make() throws -> StreamSocket {
        let fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try check(fd, "socket")
        return StreamSocket(descriptor: fd)
    }

    private static func check(_ result: Int32, _ call: String) throws {
        if result < 0 { throw SystemError(call) }
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard path.utf8.count < field.count else { return false }
            field.copyBytes(from: path.utf8)
            return true
        }
        precondition(fits, "the path is too long for a UNIX socket: \(path)")
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }
}
