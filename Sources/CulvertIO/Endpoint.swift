/// Where a socket listens or connects: `unix:/path`, `tcp:host:port`, `tcp:[v6]:port`.
public enum Endpoint: Sendable, Hashable {
    case unix(path: String)
    /// `host` is a name or a numeric address, IPv6 without brackets.
    case tcp(host: String, port: UInt16)
}

/// Why a text is no endpoint.
public struct EndpointError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
}

extension Endpoint: CustomStringConvertible {
    /// Longest path that `sockaddr_un` holds, in bytes without the closing NUL (unix(7)).
    public static let longestUnixPath = 107

    /// Parses `unix:/path` or `tcp:host:port`.
    public init(_ text: String) throws(EndpointError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard path.hasPrefix("/") else {
                throw EndpointError(description: "'\(text)': a UNIX socket needs an absolute path, as in unix:/run/x.sock")
            }
            guard path.utf8.count <= Self.longestUnixPath else {
                throw EndpointError(
                    description: "'\(text)': the path has \(path.utf8.count) bytes; the kernel takes at most \(Self.longestUnixPath)")
            }
            self = .unix(path: path)
        } else if text.hasPrefix("tcp:") {
            try self.init(hostAndPort: String(text.dropFirst(4)))
        } else {
            throw EndpointError(description: "'\(text)': starts with neither unix: nor tcp:")
        }
    }

    /// Parses `host:port` or `[v6]:port`.
    public init(hostAndPort text: String) throws(EndpointError) {
        guard let colon = text.lastIndex(of: ":") else {
            throw EndpointError(description: "'\(text)': no port; write host:port")
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw EndpointError(description: "'\(text)': an IPv6 address goes in brackets, as in [::1]:16515")
        }
        guard !host.isEmpty else { throw EndpointError(description: "'\(text)': no host; write host:port") }
        guard let port = UInt16(text[text.index(after: colon)...]) else {
            throw EndpointError(description: "'\(text)': the port is not a number from 0 to 65535")
        }
        self = .tcp(host: String(host), port: port)
    }

    /// `host:port`, with brackets around IPv6; a UNIX path as it is.
    public var address: String {
        switch self {
        case .unix(let path): path
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }

    public var description: String {
        switch self {
        case .unix: "unix:\(address)"
        case .tcp: "tcp:\(address)"
        }
    }
}

/// Who may connect to a UNIX socket. Nil leaves the file as the process's umask and ids make it.
public struct UnixSocketOptions: Sendable, Equatable {
    /// Permission bits, 0 to 0o777.
    public var mode: UInt32?
    /// Names or numbers.
    public var owner: String?
    public var group: String?

    public init(mode: UInt32? = nil, owner: String? = nil, group: String? = nil) {
        self.mode = mode
        self.owner = owner
        self.group = group
    }
}
