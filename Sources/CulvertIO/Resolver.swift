import CLinux
import Glibc

/// Turns host names into addresses without holding up a loop.
///
/// getaddrinfo has no asynchronous form worth having and may wait for seconds, so lookups run on threads of their own.
enum Resolver {
    private static let lookups = Lookups { question in
        Result { () throws(IOError) in try lookUp(host: question.host, port: question.port) }
    }

    /// Looks `host` up and calls `completion` on `loop`, never from here. The addresses come in the system's order of
    /// preference (RFC 6724), at least one.
    /// - Returns: for `cancel`.
    static func resolve(
        host: String, port: UInt16, loop: EventLoop,
        completion: @escaping @Sendable (Result<[SocketAddress], IOError>) -> Void
    ) -> Lookups.Ticket {
        lookups.ask(Lookups.Question(host: host, port: port)) { result in loop.execute { completion(result) } }
    }

    /// Nobody waits for the answer any more. One that is on its way to the loop still arrives.
    static func cancel(_ ticket: Lookups.Ticket) { lookups.cancel(ticket) }

    /// Nil if `host` is not a numeric address.
    static func numeric(host: String, port: UInt16) -> SocketAddress? {
        try? lookUp(host: host, port: port, flags: AI_NUMERICHOST).first
    }

    /// Waits for the answer.
    static func lookUp(host: String, port: UInt16, flags: CInt = 0) throws(IOError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_flags = flags | AI_NUMERICSERV
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host, String(port), &hints, &list)
        defer { list.map(freeaddrinfo) }
        guard result == 0 else { throw lookupError(result, errno: errno, host: host) }

        let entries = sequence(first: list) { $0?.pointee.ai_next }.prefix { $0 != nil }.compactMap { $0?.pointee }
        return entries.filter { $0.ai_family == AF_INET || $0.ai_family == AF_INET6 }
            .map { SocketAddress(copying: $0.ai_addr, length: $0.ai_addrlen) }
    }

    /// No errno says that a name is unknown. EHOSTUNREACH is what it amounts to.
    private static func lookupError(_ code: CInt, errno: CInt, host: String) -> IOError {
        let operation = "look up '\(host)'"
        return switch code {
        case EAI_SYSTEM: IOError(errno: errno, operation: operation)
        case EAI_MEMORY: IOError(errno: ENOMEM, operation: operation)
        default: IOError(errno: EHOSTUNREACH, operation: operation, detail: String(cString: gai_strerror(code)))
        }
    }
}
