import CLinux
import Glibc

/// Accepts connections on one endpoint. Lives on its loop, which keeps it until `close`.
public final class Listener {
    /// Where it listens: numeric, with the port that the kernel chose if 0 was asked for.
    public let local: Endpoint
    private let loop: EventLoop
    private var file: SocketFile?
    private var socket: Descriptor?
    private var registration: Registration?
    private var pause: TimerHandle?
    private var accept: ((consuming Descriptor) -> Void)?

    /// Call it on `loop`. Looks names up in place, which may take time: give numeric addresses to a loop at work.
    ///
    /// - Parameters:
    ///   - unix: for a UNIX endpoint. A socket file that no process uses is replaced.
    ///   - accept: gets each connection, non-blocking and closed on exec. May close the listener.
    public init(
        endpoint: Endpoint, unix: UnixSocketOptions = UnixSocketOptions(), loop: EventLoop,
        accept: @escaping (consuming Descriptor) -> Void
    ) throws(IOError) {
        loop.preconditionCurrent()
        let operation = "listen on \(endpoint)"
        let socket: Descriptor
        switch endpoint {
        case .unix(let path):
            socket = try Self.open(AF_UNIX, operation: operation)
            file = try SocketFile.bind(socket, to: path, options: unix, operation: operation)
        case .tcp(let host, let port):
            socket = try Self.bind(host: host, port: port, operation: operation)
            file = nil
        }
        try Self.check(clinux_listen(socket.rawValue, Self.backlog), operation)
        guard let address = SocketAddress(localOf: socket.rawValue) else {
            throw IOError(errno: errno, operation: operation)
        }
        local = address.endpoint
        self.loop = loop
        self.accept = accept
        let descriptor = socket.rawValue
        self.socket = consume socket
        registration = try loop.register(descriptor, self)
    }

    /// Takes no more connections; those accepted go on. Idempotent, on the loop.
    public func close() {
        loop.preconditionCurrent()
        if let registration { loop.deregister(registration) }
        if let pause { loop.cancel(pause) }
        registration = nil
        pause = nil
        accept = nil
        // The file first: see its deinit.
        file = nil
        socket = nil
    }

    /// Connections that wait to be accepted; Linux cuts it to `net.core.somaxconn`, 4096 by default.
    private static var backlog: CInt { 4096 }

    private static func open(_ family: CInt, operation: String) throws(IOError) -> Descriptor {
        let result = clinux_socket(family, CInt(SOCK_STREAM.rawValue))
        try check(result, operation)
        return Descriptor(adopting: result)
    }

    private static func bind(host: String, port: UInt16, operation: String) throws(IOError) -> Descriptor {
        let addresses: [SocketAddress]
        do {
            addresses = try Resolver.lookUp(host: host, port: port, flags: AI_PASSIVE)
        } catch {
            throw IOError(errno: error.errno, operation: operation, detail: error.description)
        }
        // A name such as localhost has an address in each family, and there is one socket. Programs that know only one
        // family know IPv4.
        let address = addresses.first { $0.family == AF_INET } ?? addresses[0]
        let socket = try open(address.family, operation: operation)
        // Without it, connections of an earlier run that are in TIME_WAIT would block the port for a minute.
        try check(clinux_set_option(socket.rawValue, SOL_SOCKET, SO_REUSEADDR, 1), operation)
        if address.family == AF_INET6 {
            // So that [::] and 0.0.0.0 can be listened on side by side.
            try check(clinux_set_option(socket.rawValue, CInt(IPPROTO_IPV6), IPV6_V6ONLY, 1), operation)
        }
        try check(address.withSockaddr { clinux_bind(socket.rawValue, $0, $1) }, operation)
        return socket
    }

    private static func check(_ result: CInt, _ operation: String) throws(IOError) {
        guard result >= 0 else { throw IOError(errno: -result, operation: operation) }
    }
}

/// For the loop.
extension Listener: EventHandler, LoopTask {
    /// Connections accepted before others on the loop have their turn.
    private static var batch: Int { 64 }
    /// While the process has few descriptors left. The kernel keeps what waits and signals no new edge for it.
    private static var pauseLength: Duration { .milliseconds(100) }

    public func ready(_ events: ReadyEvents) {
        if pause == nil { run() }
    }

    public func run() {
        for _ in 0..<Self.batch {
            // Accepting may have closed the listener.
            guard let accept, let descriptor = socket?.rawValue else { return }
            let result = clinux_accept(descriptor)
            if result >= 0 {
                let isLast = DescriptorReserve.includes(result)
                accept(Descriptor(adopting: result))
                if isLast { return wait() }
                continue
            }
            switch -result {
            case EAGAIN:
                return
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                return wait()
            case EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP:
                preconditionFailure("\(IOError(errno: -result, operation: "accept on \(local)"))")
            default:
                // The errors of a connection that broke while it waited (accept(2)); it is gone, the next one is not.
                continue
            }
        }
        loop.enqueue(self)
    }

    private func wait() {
        // Accepting may have closed the listener.
        guard let descriptor = socket?.rawValue else { return }
        pause = loop.schedule(after: Self.pauseLength) {
            self.pause = nil
            if DescriptorReserve.isReached(probing: descriptor) { self.wait() } else { self.run() }
        }
    }
}
