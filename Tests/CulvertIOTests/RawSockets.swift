// Sockets made without what is under test, for its other end.

import CulvertIO
import Glibc

/// Closed on exec: other tests start processes, in which a socket would live on.
private func openSocket(_ family: CInt) -> CInt {
    socket(family, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
}

/// A UNIX listener, closed with this value.
struct UnixListener: ~Copyable {
    let socket: Descriptor

    /// Without a backlog it is bound and does not listen. The file stays in any case.
    init(path: String, backlog: CInt?) throws {
        socket = Descriptor(adopting: openSocket(AF_UNIX))
        var result = Self.withAddress(path) { bind(socket.rawValue, $0, $1) }
        if result == 0, let backlog { result = listen(socket.rawValue, backlog) }
        guard result == 0 else { throw IOError(errno: errno, operation: "listen on \(path)") }
    }

    /// A non-blocking client, which the listener need not have accepted yet.
    static func connect(to path: String) throws -> Descriptor {
        let client = Descriptor(adopting: openSocket(AF_UNIX))
        try connect(client.rawValue, to: path)
        return client
    }

    static func connect(_ client: CInt, to path: String) throws {
        guard withAddress(path, { Glibc.connect(client, $0, $1) }) == 0 else {
            throw IOError(errno: errno, operation: "connect to \(path)")
        }
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }
}

/// A TCP listener on 127.0.0.1, closed with this value.
struct TCPListener: ~Copyable {
    let socket: Descriptor
    let port: UInt16

    /// Without a backlog it is bound and does not listen: its port is nobody else's and refuses connections.
    init(backlog: CInt?) throws {
        socket = Descriptor(adopting: openSocket(AF_INET))
        var address = Self.loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let raw = socket.rawValue
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(raw, $0, length) == 0 && (backlog.map { listen(raw, $0) } ?? 0) == 0 && getsockname(raw, $0, &length) == 0
            }
        }
        guard isListening else { throw IOError(errno: errno, operation: "listen") }
        port = UInt16(bigEndian: address.sin_port)
    }

    /// A non-blocking client that fills a place in the queue, or waits for one.
    borrowing func connect() throws -> Descriptor {
        let client = Descriptor(adopting: openSocket(AF_INET))
        var address = Self.loopback(port: port)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(client.rawValue, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 || errno == EINPROGRESS else { throw IOError(errno: errno, operation: "connect") }
        return client
    }

    private static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        address.sin_port = port.bigEndian
        return address
    }
}

/// Two ends of a TCP connection, both non-blocking.
struct TCPPair: ~Copyable {
    var near: Descriptor
    var far: Descriptor

    init() throws {
        let listener = try TCPListener(backlog: 1)
        let client = try listener.connect()
        let accepted = accept(listener.socket.rawValue, nil, nil)
        guard accepted >= 0, fcntl(accepted, F_SETFL, O_NONBLOCK) == 0, fcntl(accepted, F_SETFD, FD_CLOEXEC) == 0 else {
            throw IOError(errno: errno, operation: "accept")
        }
        near = client
        far = Descriptor(adopting: accepted)
    }
}
