import CulvertIO
import Glibc
import Synchronization

/// A blocking socket of a test's own, without any code of the relay. Every call ends within a limit.
final class PlainSocket: Sendable {
    /// -1 once it is closed.
    private let raw: Atomic<CInt>

    private init(adopting descriptor: CInt) {
        raw = Atomic(descriptor)
        setLimit(seconds: patience)
    }

    deinit { close() }

    var descriptor: CInt { raw.load(ordering: .relaxed) }

    // MARK: Making

    /// - Parameters:
    ///   - endpoint: of a UNIX socket, or of a numeric IPv4 address; port 0 lets the kernel choose.
    ///   - receiveBuffer: bytes the kernel takes for each connection before somebody reads; nil leaves its choice.
    static func listen(_ endpoint: Endpoint, backlog: CInt = 4096, receiveBuffer: CInt? = nil) throws -> PlainSocket {
        let socket = try make(endpoint)
        if let receiveBuffer { socket.set(SO_RCVBUF, receiveBuffer) }
        try check("bind \(endpoint)", withAddress(endpoint) { bind(socket.descriptor, $0, $1) })
        try check("listen on \(endpoint)", Glibc.listen(socket.descriptor, backlog))
        return socket
    }

    static func connect(_ endpoint: Endpoint) throws -> PlainSocket {
        let socket = try make(endpoint)
        try socket.connect(to: endpoint)
        return socket
    }

    func connect(to endpoint: Endpoint) throws {
        try Self.check("connect to \(endpoint)", Self.withAddress(endpoint) { Glibc.connect(descriptor, $0, $1) })
    }

    /// Keeps a port where nobody listens, and where a relay may. Nobody else gets it by chance.
    static func reservePort() throws -> PlainSocket {
        let socket = try make(anyPort)
        socket.set(SO_REUSEADDR, 1)
        try check("bind \(anyPort)", withAddress(anyPort) { bind(socket.descriptor, $0, $1) })
        return socket
    }

    static let anyPort = Endpoint.tcp(host: "127.0.0.1", port: 0)

    func accept() throws -> PlainSocket {
        let accepted = Glibc.accept(descriptor, nil, nil)
        try Self.check("accept", accepted)
        return PlainSocket(adopting: accepted)
    }

    /// A socket for `endpoint` that does nothing yet.
    static func make(_ endpoint: Endpoint) throws -> PlainSocket {
        let family = if case .unix = endpoint { AF_UNIX } else { AF_INET }
        let descriptor = Glibc.socket(family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        try check("make a socket", descriptor)
        return PlainSocket(adopting: descriptor)
    }

    // MARK: Bytes

    func write(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                send(descriptor, $0.baseAddress! + sent, bytes.count - sent, CInt(MSG_NOSIGNAL))
            }
            try Self.check("send", CInt(clamping: count))
            sent += count
        }
    }

    /// A byte that TCP marks as urgent.
    func writeUrgently(_ byte: UInt8) throws {
        let count = withUnsafeBytes(of: byte) { send(descriptor, $0.baseAddress, 1, CInt(MSG_NOSIGNAL | MSG_OOB)) }
        try Self.check("send a byte urgently", CInt(count))
    }

    func write(_ text: String) throws { try write(Array(text.utf8)) }

    /// At most `limit` bytes; empty at the end.
    func read(_ limit: Int = 64 << 10) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: limit) { buffer, filled in
            let count = recv(descriptor, buffer.baseAddress, limit, 0)
            try Self.check("receive", CInt(clamping: count))
            filled = count
        }
    }

    func read(exactly count: Int) throws -> [UInt8] {
        var result: [UInt8] = []
        while result.count < count {
            let piece = try read(count - result.count)
            guard !piece.isEmpty else { throw Failure("receive \(count) bytes: the stream ended after \(result.count)") }
            result += piece
        }
        return result
    }

    func readToEnd() throws -> [UInt8] {
        let (bytes, error) = readUntilOver()
        guard error == 0 else { throw Failure("receive: after \(bytes.count) bytes", error) }
        return bytes
    }

    /// What one call gives: bytes, none at the end, or an error.
    func readOnce() -> (bytes: [UInt8], error: CInt) {
        do { return (try read(), 0) } catch { return ([], (error as? Failure)?.code ?? -1) }
    }

    /// What arrives before the end, or before the error that ends it.
    func readUntilOver() -> (bytes: [UInt8], error: CInt) {
        var result: [UInt8] = []
        while true {
            let (piece, error) = readOnce()
            if piece.isEmpty { return (result, error) }
            result += piece
        }
    }

    // MARK: End

    func finishWriting() { shutdown(descriptor, CInt(SHUT_WR)) }

    /// Wakes whoever waits on it; accepting or reading is over.
    func stop() { shutdown(descriptor, CInt(SHUT_RDWR)) }

    /// Idempotent. Nobody may be using it.
    func close() {
        let descriptor = raw.exchange(-1, ordering: .relaxed)
        if descriptor >= 0 { Glibc.close(descriptor) }
    }

    /// Closes it so that a TCP peer sees a reset; a UNIX peer does if bytes it sent were not read.
    func reset() {
        var immediately = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &immediately, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    // MARK: Options and addresses

    var isNonBlocking: Bool {
        get { fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0 }
        set { _ = fcntl(descriptor, F_SETFL, newValue ? O_NONBLOCK : 0) }
    }

    /// Where a listener of `anyPort` listens.
    var port: UInt16 {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    var endpoint: Endpoint { .tcp(host: "127.0.0.1", port: port) }

    private func set(_ option: CInt, _ value: CInt) {
        var value = value
        setsockopt(descriptor, SOL_SOCKET, option, &value, socklen_t(MemoryLayout<CInt>.size))
    }

    private func setLimit(seconds: Int) {
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    private static func check(_ operation: String, _ result: CInt) throws {
        if result < 0 { throw Failure(operation, errno) }
    }

    private static func withAddress(
        _ endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
    ) -> CInt {
        switch endpoint {
        case .unix(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            return withPointer(to: address, body)
        case .tcp(let host, let port):
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            inet_pton(AF_INET, host, &address.sin_addr)
            return withPointer(to: address, body)
        }
    }

    private static func withPointer<Address>(
        to address: Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
    ) -> CInt {
        withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Address>.size)) }
        }
    }
}
