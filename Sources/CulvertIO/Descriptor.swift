import CLinux
import Glibc

/// Owns one open, non-blocking socket and closes it when it goes.
@frozen
public struct Descriptor: ~Copyable {
    public let rawValue: CInt

    /// What one system call achieved.
    public enum Transfer: Sendable, Equatable {
        case bytes(Int)
        case wouldBlock
        /// Reading only: the peer has said all it has to say.
        case endOfStream
        case failed(CInt)
    }

    /// Two connected sockets. Frozen, so that other modules can take them apart.
    @frozen
    public struct Pair: ~Copyable {
        public var first: Descriptor
        public var second: Descriptor
    }

    /// Takes ownership of `rawValue`, which must be open and non-blocking.
    public init(adopting rawValue: CInt) {
        precondition(rawValue >= 0, "\(rawValue) is no descriptor")
        self.rawValue = rawValue
    }

    deinit {
        // Linux releases the number even if close reports EINTR or a write-back error, so there is nothing to retry.
        _ = Glibc.close(rawValue)
    }

    /// Gives the descriptor away without closing it.
    public consuming func release() -> CInt {
        let released = rawValue
        discard self
        return released
    }

    /// A connected pair of UNIX stream sockets.
    public static func pair() throws(IOError) -> Pair {
        var raw: (CInt, CInt) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &raw) { raw in
            clinux_socketpair(raw.baseAddress!.assumingMemoryBound(to: CInt.self))
        }
        guard result >= 0 else { throw IOError(errno: -result, operation: "make a socket pair") }
        let pair = Pair(first: Descriptor(adopting: raw.0), second: Descriptor(adopting: raw.1))
        guard !DescriptorReserve.includes(max(raw.0, raw.1)) else { throw IOError(errno: EMFILE, operation: "make a socket pair") }
        return pair
    }
}

// MARK: Reading and writing

extension Descriptor {
    /// Most pieces one call takes (IOV_MAX); what lies beyond is left for the next call.
    private static var mostPieces: Int { 1024 }

    /// `buffer` must have room, or an end of stream could not be told from nothing read.
    public borrowing func read(into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        precondition(!buffer.isEmpty, "reading into an empty buffer")
        return Self.received(clinux_read(rawValue, buffer.baseAddress, buffer.count))
    }

    /// The pieces together must have room.
    public borrowing func read(into pieces: UnsafeBufferPointer<iovec>) -> Transfer {
        let count = clinux_readv(rawValue, pieces.baseAddress, CInt(min(pieces.count, Self.mostPieces)))
        precondition(count != 0 || pieces.contains { $0.iov_len > 0 }, "reading into empty buffers")
        return Self.received(count)
    }

    public borrowing func write(_ bytes: UnsafeRawBufferPointer) -> Transfer {
        Self.sent(clinux_send(rawValue, bytes.baseAddress, bytes.count))
    }

    public borrowing func write(_ pieces: UnsafeBufferPointer<iovec>) -> Transfer {
        Self.sent(clinux_sendv(rawValue, pieces.baseAddress, CInt(min(pieces.count, Self.mostPieces))))
    }

    private static func received(_ result: Int) -> Transfer {
        result == 0 ? .endOfStream : sent(result)
    }

    private static func sent(_ result: Int) -> Transfer {
        if result >= 0 { return .bytes(result) }
        let error = CInt(-result)
        switch error {
        case EAGAIN: return .wouldBlock
        case EBADF, EFAULT, EINVAL, ENOTSOCK: preconditionFailure("\(IOError(errno: error, operation: "read or write"))")
        default: return .failed(error)
        }
    }

    /// The errno that the next call would fail with; nil if there is none. The socket has it no longer.
    public borrowing func takeError() -> CInt? {
        let result = clinux_pending_error(rawValue)
        return result == 0 ? nil : -result
    }

    /// Tells the peer that nothing more will be written.
    public borrowing func shutdownWrite() {
        // It fails only if the connection is gone already (ENOTCONN), which the next read reports with its cause.
        _ = Glibc.shutdown(rawValue, CInt(SHUT_WR))
    }
}

// MARK: Options

// No option below is needed for correctness, so a kernel that refuses one costs speed or a later diagnosis, not the
// connection: results are ignored.
extension Descriptor {
    /// Whether closing, also by the end of the process, tells the peer that the stream broke off, instead of looking like its proper end.
    ///
    /// TCP then sends RST. A UNIX socket has no such switch: its peer gets ECONNRESET only if bytes it sent are still
    /// unread when this end closes, and otherwise sees an end of stream, and EPIPE when it writes.
    public borrowing func resetOnClose(_ isOn: Bool) {
        var immediately = linger(l_onoff: isOn ? 1 : 0, l_linger: 0)
        _ = setsockopt(rawValue, SOL_SOCKET, SO_LINGER, &immediately, socklen_t(MemoryLayout<linger>.size))
    }

    /// For a TCP connection that carries many streams.
    ///
    /// - Parameters:
    ///   - notSentLowWater: bytes the kernel may hold unsent before the socket stops being writable. Kept small, the
    ///     choice of what goes next stays with us until the last moment.
    ///   - keepalive: how long an idle peer may be silent before the connection fails with ETIMEDOUT; at least a second.
    ///   - mayRest: the peer may take nothing for as long as it likes. Otherwise the connection fails too if sent bytes stay
    ///     unacknowledged, or find no room at the peer, for that long.
    public borrowing func tuneForLane(notSentLowWater: Int, keepalive: Duration, mayRest: Bool = false) {
        guard isTCP else { return }
        let milliseconds = CInt(clamping: keepalive.nanoseconds / 1_000_000)
        let probe = max(1, milliseconds / 3000)
        set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        set(Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, CInt(clamping: notSentLowWater))
        if !mayRest { set(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, milliseconds) }
        set(SOL_SOCKET, SO_KEEPALIVE, 1)
        set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, probe)
        set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, probe)
        set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 2)
    }

    /// How a TCP connection's peer answers what it was sent; nil for other sockets.
    public var answers: Answers? {
        var answers = clinux_answers()
        guard clinux_get_answers(rawValue, &answers) == 0 else { return nil }
        return Answers(
            acknowledged: answers.acknowledged, silence: UInt64(answers.silence) * 1_000_000, areDue: answers.are_due != 0)
    }

    /// Nanoseconds so far in which a TCP connection had bytes under way while its receiver had room for more; 0 for other
    /// sockets.
    public var linkBusy: UInt64 { clinux_link_busy(rawValue) * 1000 }

    /// For the connection of one stream to a local program.
    ///
    /// - Parameter bufferSize: bytes of the send buffer, which the kernel doubles for its own overhead; nil leaves the
    ///   kernel's choice. Beyond `net.core.wmem_max` it needs CAP_NET_ADMIN and is cut to that limit without it.
    public borrowing func tuneForLeg(bufferSize: Int?) {
        if isTCP { set(Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
        guard let bufferSize else { return }
        let size = CInt(clamping: bufferSize)
        if clinux_set_option(rawValue, SOL_SOCKET, SO_SNDBUFFORCE, size) < 0 { set(SOL_SOCKET, SO_SNDBUF, size) }
    }

    private borrowing func set(_ level: CInt, _ option: CInt, _ value: CInt) {
        _ = clinux_set_option(rawValue, level, option, value)
    }
}

// MARK: Addresses

extension Descriptor {
    /// This end, for people: `127.0.0.1:4444`, `[::1]:3`, a path, or `unix client pid 123`.
    public var localAddress: String {
        guard let address = SocketAddress(localOf: rawValue) else { return "unconnected" }
        return address.isUnnamed ? "unix client pid \(getpid())" : address.description
    }

    /// The other end, in the same form.
    public var remoteAddress: String {
        guard let address = SocketAddress(remoteOf: rawValue) else { return "unconnected" }
        return address.isUnnamed ? "unix client pid \(clinux_peer_pid(rawValue))" : address.description
    }

    private var isTCP: Bool {
        switch SocketAddress(localOf: rawValue)?.family {
        case AF_INET, AF_INET6: true
        default: false
        }
    }
}
