import CulvertIO
import Glibc

extension Endpoint {
    /// Calls `body` with a socket and address to try, in the resolver's order, until it returns a descriptor.
    ///
    /// `body` returns false, with `errno` set, where this address does not do.
    func open(passive: Bool, _ body: (CInt, UnsafePointer<sockaddr>, socklen_t) -> Bool) throws(SocketError) -> CInt {
        switch self {
        case .unix(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let descriptor = socket(AF_UNIX, streamSocket, 0)
            guard descriptor >= 0 else { throw SocketError("socket", self) }
            let done = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if done { return descriptor }
            let error = SocketError(passive ? "listen on" : "connect to", self)
            close(descriptor)
            throw error

        case .tcp(let host, let port):
            var hints = addrinfo()
            hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
            hints.ai_flags = passive ? AI_PASSIVE : 0
            var found: UnsafeMutablePointer<addrinfo>?
            let status = getaddrinfo(host, String(port), &hints, &found)
            guard status == 0 else {
                throw SocketError(description: "cannot resolve \(host): \(String(cString: gai_strerror(status)))")
            }
            defer { freeaddrinfo(found) }
            var error = SocketError(description: "\(host) has no address")
            for candidate in sequence(first: found!, next: { $0.pointee.ai_next }) {
                let info = candidate.pointee
                let descriptor = socket(info.ai_family, streamSocket, 0)
                if descriptor >= 0, body(descriptor, info.ai_addr, info.ai_addrlen) { return descriptor }
                error = SocketError(passive ? "listen on" : "connect to", self)
                if descriptor >= 0 { close(descriptor) }
            }
            throw error
        }
    }
}

private let streamSocket = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)

/// What failed on which socket; prints as one sentence.
public struct SocketError: Error, CustomStringConvertible {
    public let description: String

    init(description: String) { self.description = description }

    init(_ action: String, _ object: some CustomStringConvertible, _ cause: CInt = errno) {
        description = "cannot \(action) \(object): \(String(cString: strerror(cause)))"
    }
}
