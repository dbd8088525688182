import CLinux
import CulvertIO
import Glibc

/// A connected, blocking stream socket, closed when it goes out of scope.
///
/// The measuring programs block on purpose: with one stream and one thread there is nothing else to do, and no cheaper
/// way to wait.
public struct Socket: ~Copyable, Sendable {
    let descriptor: CInt
    let endpoint: Endpoint

    fileprivate init(descriptor: CInt, endpoint: Endpoint) {
        self.descriptor = descriptor
        self.endpoint = endpoint
        guard case .tcp = endpoint else { return }
        var on: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
    }

    public init(to endpoint: Endpoint) throws(SocketError) {
        let descriptor = try endpoint.open(passive: false) { connect($0, $1, $2) == 0 }
        self.init(descriptor: descriptor, endpoint: endpoint)
    }

    deinit { close(descriptor) }

    /// The same socket, non-blocking, for whoever closes it.
    consuming func nonBlockingDescriptor() throws(SocketError) -> CInt {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0, fcntl(copy, F_SETFL, O_RDWR | O_NONBLOCK) == 0 else { throw SocketError("keep", endpoint) }
        return copy
    }

    /// Returns when the kernel has taken every byte.
    public func send(_ bytes: UnsafeRawBufferPointer) throws(SocketError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: rest)
            let sent = Glibc.send(descriptor, part.baseAddress, part.count, CInt(MSG_NOSIGNAL))
            if sent < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { throw stalled }
                throw SocketError("send to", endpoint)
            }
            rest = rest.dropFirst(sent)
        }
    }

    /// Takes what is there, at least one byte; 0 at the end of the stream.
    public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(SocketError) -> Int {
        while true {
            let received = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if received >= 0 { return received }
            if errno == EAGAIN { throw stalled }
            if errno != EINTR { throw SocketError("receive from", endpoint) }
        }
    }

    /// Fills `buffer`; false if the stream ends before that.
    public func receiveWhole(_ buffer: UnsafeMutableRawBufferPointer) throws(SocketError) -> Bool {
        var filled = 0
        while filled < buffer.count {
            let count = try receive(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
            if count == 0 { return false }
            filled += count
        }
        return true
    }

    /// Has `send` and `receive` throw if nothing moves for so long.
    public func limitWaits(seconds: Int) {
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    private var stalled: SocketError { SocketError(description: "nothing moves through \(endpoint) any more; waited long enough") }

    /// The process at the other end: the one that connected, or the one that began to listen. Nil if it is not on this
    /// machine or the socket is not a UNIX one.
    public var peerProcess: pid_t? {
        guard case .unix = endpoint, case let process = clinux_peer_pid(descriptor), process > 0 else { return nil }
        return process
    }

    /// Half-closes: the other side reads the end of the stream after the last byte.
    public func finishSending() throws(SocketError) {
        guard shutdown(descriptor, CInt(SHUT_WR)) == 0 else { throw SocketError("half-close", endpoint) }
    }
}

/// A listening socket, closed (and a UNIX one removed) when it goes out of scope.
public struct Listener: ~Copyable, Sendable {
    private let descriptor: CInt
    /// With the kernel's choice of port if 0 was asked for.
    public let endpoint: Endpoint

    public init(on endpoint: Endpoint) throws(SocketError) {
        descriptor = try endpoint.open(passive: true) {
            var on: CInt = 1
            setsockopt($0, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size))
            return bind($0, $1, $2) == 0 && listen($0, SOMAXCONN) == 0
        }
        if case .tcp(let host, port: 0) = endpoint {
            self.endpoint = .tcp(host: host, port: Self.port(of: descriptor))
        } else {
            self.endpoint = endpoint
        }
    }

    deinit {
        close(descriptor)
        if case .unix(let path) = endpoint { unlink(path) }
    }

    public func accept() throws(SocketError) -> Socket {
        let accepted = Glibc.accept(descriptor, nil, nil)
        guard accepted >= 0 else { throw SocketError("accept on", endpoint) }
        _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
        return Socket(descriptor: accepted, endpoint: endpoint)
    }

    /// Has `accept` throw from now on, on whichever thread it waits, and removes a UNIX socket's file.
    public func stop() {
        if case .unix(let path) = endpoint { unlink(path) }
        shutdown(descriptor, CInt(SHUT_RDWR))
    }

    private static func port(of descriptor: CInt) -> UInt16 {
        var address = sockaddr_in6()
        var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
        }
        // The port stands at the same place in sockaddr_in and sockaddr_in6.
        return UInt16(bigEndian: address.sin6_port)
    }
}
