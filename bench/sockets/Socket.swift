import CulvertIO
import Glibc

/// A connected, blocking stream socket, closed when it goes out of scope.
///
/// The measuring programs block on purpose: with one stream and one thread there is nothing else to do, and no cheaper
/// way to wait.
public struct Socket: ~Copyable {
    private let descriptor: CInt
    private let endpoint: Endpoint

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

    /// Returns when the kernel has taken every byte.
    public func send(_ bytes: UnsafeRawBufferPointer) throws(SocketError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: rest)
            let sent = Glibc.send(descriptor, part.baseAddress, part.count, CInt(MSG_NOSIGNAL))
            if sent < 0 {
                if errno == EINTR { continue }
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
            if errno != EINTR { throw SocketError("receive from", endpoint) }
        }
    }

    /// Half-closes: the other side reads the end of the stream after the last byte.
    public func finishSending() throws(SocketError) {
        guard shutdown(descriptor, CInt(SHUT_WR)) == 0 else { throw SocketError("half-close", endpoint) }
    }
}

/// A listening socket, closed (and a UNIX one removed) when it goes out of scope.
public struct Listener: ~Copyable {
    private let descriptor: CInt
    /// With the kernel's choice of port if 0 was asked for.
    public let endpoint: Endpoint

    public init(on endpoint: Endpoint) throws(SocketError) {
        descriptor = try endpoint.open(passive: true) {
            var on: CInt = 1
            setsockopt($0, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size))
            return bind($0, $1, $2) == 0 && listen($0, 1) == 0
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
        return Socket(descriptor: accepted, endpoint: endpoint)
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
