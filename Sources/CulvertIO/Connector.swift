import CLinux
import Glibc

/// One attempt to connect to an endpoint. Lives on its loop until it is done or cancelled, also if nobody else holds it.
public final class Connector {
    private let endpoint: Endpoint
    private let loop: EventLoop
    private let deadline: UInt64
    /// Nil once it was called or cancelled.
    private var completion: ((consuming Result<Descriptor, IOError>) -> Void)?

    /// Addresses that were not tried yet, in order.
    private var addresses: ArraySlice<SocketAddress> = []
    /// What is under way, for the error that a timeout gives.
    private var operation: String
    private var lastError: IOError?
    private var socket: Descriptor?
    private var registration: Registration?
    private var lookup: Lookups.Ticket?
    /// Ends the lookup or the attempt at one address.
    private var limit: TimerHandle?
    private var retry: TimerHandle?

    /// Call it on `loop`; calls `completion` once, later, on `loop`, unless cancelled or the loop ends before.
    ///
    /// A name is looked up and its addresses are tried in turn, each for an equal share of the time that is left. A UNIX
    /// socket whose queue is full is tried again until the time is over.
    ///
    /// - Parameters:
    ///   - timeout: for everything, lookup included; then the error is ETIMEDOUT.
    ///   - completion: gets a connection that is non-blocking and closed on exec, or the error of the last address.
    public init(
        to endpoint: Endpoint, loop: EventLoop, timeout: Duration,
        completion: @escaping (consuming Result<Descriptor, IOError>) -> Void
    ) {
        self.endpoint = endpoint
        self.loop = loop
        deadline = loop.now + timeout.nanoseconds
        operation = "connect to \(endpoint)"
        self.completion = completion
        loop.enqueue(self)
    }

    /// `completion` is not called any more. Idempotent, on the loop.
    public func cancel() {
        loop.preconditionCurrent()
        completion = nil
        endAttempt()
    }
}

// MARK: Steps

/// For the loop.
extension Connector: EventHandler, LoopTask {
    public func run() {
        guard completion != nil else { return }
        switch endpoint {
        case .unix(let path):
            guard let address = SocketAddress(unixPath: path) else {
                return finish(.failure(.unusablePath(path, operation: operation)))
            }
            addresses = [address]
            tryNextAddress()
        case .tcp(let host, let port):
            if let address = Resolver.numeric(host: host, port: port) {
                addresses = [address]
                tryNextAddress()
            } else {
                lookUp(host: host, port: port)
            }
        }
    }

    /// The connection in progress was made or failed.
    public func ready(_ events: ReadyEvents) {
        guard let descriptor = socket?.rawValue else { return }
        attemptEnded(clinux_pending_error(descriptor))
    }

    private func lookUp(host: String, port: UInt16) {
        startLimit(sharedBy: 1)
        operation = "connect to \(endpoint): look up the name"
        let bound = LoopBound(self, loop: loop)
        lookup = Resolver.resolve(host: host, port: port, loop: loop) { bound.value.lookedUp($0) }
    }

    private func lookedUp(_ result: Result<[SocketAddress], IOError>) {
        // The limit may have ended it, and then the answer comes too late.
        guard completion != nil else { return }
        switch result {
        case .success(let found):
            addresses = found[...]
            tryNextAddress()
        case .failure(let error):
            finish(.failure(IOError(errno: error.errno, operation: "connect to \(endpoint)", detail: error.description)))
        }
    }

    private func tryNextAddress() {
        endAttempt()
        guard let address = addresses.first else {
            return finish(.failure(lastError ?? IOError(errno: EHOSTUNREACH, operation: operation)))
        }
        startLimit(sharedBy: addresses.count)
        addresses.removeFirst()
        operation = "connect to \(endpoint)"
        if address.endpoint != endpoint { operation += " (\(address))" }

        let result = clinux_socket(address.family, CInt(SOCK_STREAM.rawValue))
        guard result >= 0 else { return attemptEnded(result) }
        socket = Descriptor(adopting: result)
        guard !DescriptorReserve.includes(result) else { return attemptEnded(-EMFILE) }
        connect(to: address)
    }

    private func connect(to address: SocketAddress) {
        guard let descriptor = socket?.rawValue else { return }
        let result = address.withSockaddr { clinux_connect(descriptor, $0, $1) }
        switch -result {
        case EINPROGRESS, EINTR:
            do throws(IOError) {
                registration = try loop.register(descriptor, self)
            } catch {
                attemptEnded(-error.errno)
            }
        case EAGAIN where address.family == AF_UNIX:
            // The listener's queue is full, and no event tells when it is not.
            retry = loop.schedule(after: Self.retryDelay) { self.connect(to: address) }
        default:
            attemptEnded(result)
        }
    }

    /// `result` is 0 for a connection, or -errno.
    private func attemptEnded(_ result: CInt) {
        if result == 0, !isConnectedToItself {
            stopWaiting()
            finish(.success(socket.take()!))
        } else {
            note(IOError(errno: result == 0 ? ECONNREFUSED : -result, operation: operation))
            tryNextAddress()
        }
    }

    /// That this host has no way to one address says less than what another address answered.
    private func note(_ error: IOError) {
        if lastError == nil || ![ENETUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT].contains(error.errno) { lastError = error }
    }

    /// Where nobody listens on a port that the kernel also gives to clients, it may give it to this very one, and TCP then
    /// connects the socket to itself.
    private var isConnectedToItself: Bool {
        guard case .tcp = endpoint, let descriptor = socket?.rawValue else { return false }
        return SocketAddress(localOf: descriptor)?.endpoint == SocketAddress(remoteOf: descriptor)?.endpoint
    }

    private func startLimit(sharedBy count: Int) {
        let now = loop.now
        let share = Duration.nanoseconds(Int64((max(deadline, now) - now) / UInt64(count)))
        limit = loop.schedule(after: share) {
            let cause = self.retry == nil ? "no answer" : "no place in the queue of connections to accept"
            self.note(IOError(errno: ETIMEDOUT, operation: self.operation, detail: "\(cause) within \(share)"))
            self.tryNextAddress()
        }
    }

    private func finish(_ result: consuming Result<Descriptor, IOError>) {
        endAttempt()
        guard let completion else { return }
        self.completion = nil
        completion(result)
    }

    private func endAttempt() {
        stopWaiting()
        socket = nil
    }

    private func stopWaiting() {
        if let registration { loop.deregister(registration) }
        if let limit { loop.cancel(limit) }
        if let retry { loop.cancel(retry) }
        if let lookup { Resolver.cancel(lookup) }
        registration = nil
        limit = nil
        retry = nil
        lookup = nil
    }

    private static var retryDelay: Duration { .milliseconds(10) }
}
