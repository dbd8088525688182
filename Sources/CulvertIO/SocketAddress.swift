import Glibc

/// A numeric address as the kernel takes it.
public struct SocketAddress: Sendable {
    private var storage: sockaddr_storage
    private(set) var length: socklen_t

    /// `AF_UNIX`, `AF_INET` or `AF_INET6`.
    var family: CInt { CInt(storage.ss_family) }

    init(copying address: UnsafePointer<sockaddr>, length: socklen_t) {
        storage = sockaddr_storage()
        self.length = min(length, socklen_t(MemoryLayout<sockaddr_storage>.size))
        withUnsafeMutableBytes(of: &storage) { [length = self.length] in
            $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: Int(length)))
        }
    }

    /// Nil for a path that the kernel would refuse or misread: empty, with a NUL, or beyond `Endpoint.longestUnixPath`.
    init?(unixPath path: String) {
        let bytes = Array(path.utf8)
        guard 1...Endpoint.longestUnixPath ~= bytes.count, !bytes.contains(0) else { return nil }
        storage = sockaddr_storage()
        storage.ss_family = sa_family_t(AF_UNIX)
        length = socklen_t(Self.pathOffset + bytes.count + 1)
        withUnsafeMutableBytes(of: &storage) {
            UnsafeMutableRawBufferPointer(rebasing: $0[Self.pathOffset...]).copyBytes(from: bytes)
        }
    }

    init?(localOf descriptor: CInt) { self.init(of: descriptor, asking: getsockname) }

    init?(remoteOf descriptor: CInt) { self.init(of: descriptor, asking: getpeername) }

    private init?(
        of descriptor: CInt, asking ask: (CInt, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
    ) {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(descriptor, $0, &length) }
        }
        guard result == 0 else { return nil }
        self.storage = storage
        self.length = length
    }

    func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        withUnsafePointer(to: storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}

extension SocketAddress: CustomStringConvertible {
    /// A UNIX socket that was never bound, as a client's is.
    var isUnnamed: Bool { family == AF_UNIX && Int(length) <= Self.pathOffset }

    var endpoint: Endpoint {
        if family == AF_UNIX { return .unix(path: unixPath) }
        let (host, port) = hostAndPort
        return .tcp(host: host, port: port)
    }

    public var description: String { endpoint.address }

    /// Where `sun_path` starts.
    private static var pathOffset: Int { MemoryLayout<sa_family_t>.size }

    private var unixPath: String {
        withUnsafeBytes(of: storage) { bytes in
            String(decoding: bytes[Self.pathOffset..<Int(length)].prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    private var hostAndPort: (String, UInt16) {
        withSockaddr { address, length in
            // NI_MAXHOST and NI_MAXSERV of <netdb.h>, far more than a numeric address needs.
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1025 + 32) { text in
                let host = text.baseAddress!, service = host + 1025
                let result = getnameinfo(address, length, host, 1025, service, 32, NI_NUMERICHOST | NI_NUMERICSERV)
                precondition(result == 0, "no numeric form of an address of family \(family)")
                return (String(cString: host), UInt16(String(cString: service))!)
            }
        }
    }
}
