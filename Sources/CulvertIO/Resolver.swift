import CLinux
import Glibc
import Synchronization

/// Turns host names into addresses without holding up a loop.
///
/// getaddrinfo has no asynchronous form worth having and may wait for seconds, so lookups run on threads of their own, at
/// most a few at a time; they end when nothing is left to look up.
public enum Resolver {
    private struct Lookup: Sendable {
        var host: String
        var port: UInt16
        var deliver: @Sendable (Result<[SocketAddress], IOError>) -> Void
    }

    private struct Work {
        var waiting: [Lookup] = []
        var threads = 0
    }

    /// Enough that one dead name server does not hold up every name, few enough that a burst of opens starts no crowd.
    private static let mostThreads = 4
    private static let work = Mutex(Work())

    /// Looks `host` up and calls `completion` on `loop`, never from here. The addresses come in the system's order of
    /// preference (RFC 6724), at least one.
    public static func resolve(
        host: String, port: UInt16, loop: EventLoop,
        completion: @escaping @Sendable (Result<[SocketAddress], IOError>) -> Void
    ) {
        let lookup = Lookup(host: host, port: port) { result in loop.execute { completion(result) } }
        let needsThread = work.withLock { work in
            work.waiting.append(lookup)
            guard work.threads < mostThreads else { return false }
            work.threads += 1
            return true
        }
        guard needsThread else { return }
        let result = startThread()
        if result != 0 {
            // In the place of that thread, answer what waits.
            while let lookup = nextLookup() {
                lookup.deliver(.failure(IOError(errno: result, operation: "start a thread to look up '\(lookup.host)'")))
            }
        }
    }

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

    private static func startThread() -> CInt {
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, { _ in
            while let lookup = Resolver.nextLookup() {
                do throws(IOError) {
                    lookup.deliver(.success(try Resolver.lookUp(host: lookup.host, port: lookup.port)))
                } catch {
                    lookup.deliver(.failure(error))
                }
            }
            return nil
        }, nil)
        if result == 0 { pthread_detach(thread) }
        return result
    }

    /// Nil tells the calling thread to end.
    private static func nextLookup() -> Lookup? {
        work.withLock { work in
            guard !work.waiting.isEmpty else {
                work.threads -= 1
                return nil
            }
            return work.waiting.removeFirst()
        }
    }
}
