import Foundation
import Glibc
import Synchronization

/// A UNIX socket that carries lines, read by a thread of its own.
///
/// The thread connects, reads until the end and closes the descriptor; nobody else closes it. It outlives the object at
/// most until `read` returns, which `deinit` brings about.
final class LineSocket: Sendable {
    /// A line without its end, or why there will be no more; `errno` is nil for an orderly end.
    enum Input: Sendable {
        case line(Data)
        case end(errno: Int32?, whileConnecting: Bool)
        case lineTooLong
    }

    /// The longest line kept, in bytes. QEMU's longest reply, its schema, has a few hundred KiB.
    static let longestLine = 64 << 20

    private enum State {
        case connecting
        case open(Int32)
        case over
    }

    /// Held during writes and while closing, never during reads. A class, so that the thread can own it too.
    private final class Shared: Sendable {
        let state = Mutex(State.connecting)
    }

    private let shared = Shared()

    /// Connects and reads in the background; `input` is called on the reading thread, last with `end` or `lineTooLong`.
    /// `patience` bounds the connect and each write.
    init(path: String, patience: Duration, input: @escaping @Sendable (Input) -> Void) {
        let shared = shared
        Thread.detachNewThread {
            let fd: Int32
            switch Self.connected(path: path, patience: patience) {
            case .failure(let error): return input(.end(errno: error.code, whileConnecting: true))
            case .success(let value): fd = value
            }
            let wanted = shared.state.withLock { state in
                guard case .connecting = state else { return false }
                state = .open(fd)
                return true
            }
            let end = wanted ? Self.readLines(fd) { input(.line($0)) } : .end(errno: nil, whileConnecting: false)
            shared.state.withLock {
                $0 = .over
                Glibc.close(fd)
            }
            input(end)
        }
    }

    deinit { shutdown() }

    /// Writes all of `bytes`; an error number, or nil if they are gone.
    func write(_ bytes: Data) -> Int32? {
        shared.state.withLock { state in
            guard case .open(let fd) = state else { return ENOTCONN }
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if errno != EINTR {
                    return errno
                }
            }
            return nil
        }
    }

    /// Ends the connection; the reading thread then reports the end.
    func shutdown() {
        shared.state.withLock { state in
            switch state {
            case .connecting: state = .over
            case .open(let fd): _ = Glibc.shutdown(fd, Int32(SHUT_RDWR))
            case .over: break
            }
        }
    }

    private struct SystemError: Error { let code: Int32 }

    private static func connected(path: String, patience: Duration) -> Result<Int32, SystemError> {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard path.utf8.count < field.count else { return false }
            field.copyBytes(from: path.utf8)
            return true
        }
        guard fits else { return .failure(SystemError(code: ENAMETOOLONG)) }
        let fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { return .failure(SystemError(code: errno)) }
        // For UNIX sockets this bounds connect too, which otherwise waits for a place in the listener's backlog.
        var limit = timeval(patience)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let error = SystemError(code: errno)
            Glibc.close(fd)
            return .failure(error)
        }
        return .success(fd)
    }

    /// Reads until the end, however the bytes are cut; returns why it ended.
    private static func readLines(_ fd: Int32, line: (Data) -> Void) -> Input {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        var unfinished = Data()
        while true {
            let count = read(fd, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { return .end(errno: errno, whileConnecting: false) }
            if count == 0 { return .end(errno: nil, whileConnecting: false) }
            var rest = chunk[..<count]
            while let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
                unfinished.append(contentsOf: rest[..<newline])
                rest = rest[(newline + 1)...]
                if unfinished.last == UInt8(ascii: "\r") { unfinished.removeLast() }
                if !unfinished.isEmpty { line(unfinished) }
                unfinished = Data()
            }
            unfinished.append(contentsOf: rest)
            if unfinished.count > longestLine { return .lineTooLong }
        }
    }
}

extension timeval {
    /// At least a microsecond, because zero means no limit to the kernel.
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self.init(tv_sec: Int(seconds), tv_usec: max(Int(attoseconds / 1_000_000_000_000), seconds == 0 ? 1 : 0))
    }
}
