import CLinux
import Glibc

/// Many sockets, served by one thread as each becomes ready. Closed when it goes out of scope.
public final class Bundle {
    public enum Purpose {
        /// Ready when there is room to send; after `finishSending`, when the other end has closed.
        case sending
        case receiving
    }

    private let epoll: CInt
    private let purpose: Purpose
    /// By index; -1: closed.
    private var descriptors: [CInt] = []
    private var open = 0

    /// What one wait returns at most, and how long nothing may happen.
    private static let batch = 512, patience: CInt = 60_000

    public init(_ purpose: Purpose) throws(SocketError) {
        self.purpose = purpose
        epoll = clinux_epoll_create()
        guard epoll >= 0 else { throw SocketError("watch", "sockets", -epoll) }
    }

    deinit {
        for descriptor in descriptors where descriptor >= 0 { Glibc.close(descriptor) }
        Glibc.close(epoll)
    }

    public var isOpen: Bool { open > 0 }

    /// Indices count from 0 in the order of adding.
    public func add(_ socket: consuming Socket) throws(SocketError) {
        let descriptor = try socket.nonBlockingDescriptor()
        descriptors.append(descriptor)
        open += 1
        try watch(descriptors.count - 1, purpose == .sending ? EPOLLOUT : EPOLLIN)
    }

    /// Waits until some are ready and calls `body` with the index of each.
    public func forEachReady(_ body: (Int) throws -> Void) throws {
        try withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.batch) { events in
            let count = clinux_epoll_wait(epoll, events.baseAddress, CInt(Self.batch), Self.patience)
            guard count > 0 else {
                throw SocketError(description: "nothing moves through \(open) streams any more; waited long enough")
            }
            for event in events[..<Int(count)] { try body(Int(event.data.u64)) }
        }
    }

    /// Sends what there is room for; returns how much that was.
    public func send(_ index: Int, _ bytes: UnsafeRawBufferPointer) throws(SocketError) -> Int {
        let sent = clinux_send(descriptors[index], bytes.baseAddress, bytes.count)
        if sent == -Int(EAGAIN) { return 0 }
        guard sent >= 0 else { throw SocketError("send to", "stream \(index)", -CInt(sent)) }
        return sent
    }

    /// Takes what is there; 0 at the end of the stream, nil if nothing has come.
    public func receive(_ index: Int, _ buffer: UnsafeMutableRawBufferPointer) throws(SocketError) -> Int? {
        let received = clinux_read(descriptors[index], buffer.baseAddress, buffer.count)
        if received == -Int(EAGAIN) { return nil }
        guard received >= 0 else { throw SocketError("receive from", "stream \(index)", -CInt(received)) }
        return received
    }

    public func finishSending(_ index: Int) throws(SocketError) {
        guard shutdown(descriptors[index], CInt(SHUT_WR)) == 0 else { throw SocketError("half-close", "stream \(index)") }
        _ = clinux_epoll_remove(epoll, descriptors[index])
        try watch(index, EPOLLIN)
    }

    public func close(_ index: Int) {
        Glibc.close(descriptors[index])
        descriptors[index] = -1
        open -= 1
    }

    private func watch(_ index: Int, _ events: EPOLL_EVENTS) throws(SocketError) {
        let result = clinux_epoll_add(epoll, descriptors[index], events.rawValue, UInt64(index))
        guard result == 0 else { throw SocketError("watch", "stream \(index)", -result) }
    }
}
