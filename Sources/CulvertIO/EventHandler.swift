import CLinux

/// What a descriptor is ready for.
public struct ReadyEvents: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// There is something to read, or the end of the stream.
    public static let readable = ReadyEvents(rawValue: 1)
    public static let writable = ReadyEvents(rawValue: 2)
    /// Neither direction goes on. What had arrived can still be read. Comes with `readable` and `writable`.
    public static let hangup = ReadyEvents(rawValue: 4)
    /// The next call on the descriptor tells the error. Comes with `readable` and `writable`.
    public static let error = ReadyEvents(rawValue: 8)
}

/// Told by its loop when a descriptor it registered becomes ready.
public protocol EventHandler: AnyObject {
    /// Called when readiness grows, not while it lasts: read or write until `wouldBlock`, or remember what is left.
    func ready(_ events: ReadyEvents)
}

/// Work that a loop does once after the events of an iteration, so that many events lead to one large batch.
public protocol LoopTask: AnyObject {
    func run()
}

extension ReadyEvents {
    init(epoll events: UInt32) {
        var ready: ReadyEvents = []
        if events & (EPOLLIN.rawValue | EPOLLRDHUP.rawValue) != 0 { ready.insert(.readable) }
        if events & EPOLLOUT.rawValue != 0 { ready.insert(.writable) }
        if events & EPOLLHUP.rawValue != 0 { ready.formUnion([.hangup, .readable, .writable]) }
        if events & EPOLLERR.rawValue != 0 { ready.formUnion([.error, .readable, .writable]) }
        self = ready
    }
}
