import Synchronization

/// A bound on buffer memory that several holders share; a session's budget counts against its relay's too.
///
/// Room is asked for first and counted after, so holders on different threads may exceed the limit by one request each.
public final class MemoryBudget: Sendable {
    /// Bytes.
    public let limit: Int
    private let parent: MemoryBudget?
    private let counter = Atomic<Int>(0)

    public init(limit: Int, within parent: MemoryBudget? = nil) {
        self.limit = limit
        self.parent = parent
    }

    /// Bytes counted now.
    public var used: Int { counter.load(ordering: .relaxed) }

    /// Bytes that fit in, its parent's bounds considered; below 0 beyond the limit.
    var room: Int { min(limit - used, parent?.room ?? .max) }

    func hasRoom(for bytes: Int) -> Bool { bytes <= room }

    /// Counts memory that is none of a stream's buffers, if it fits in.
    /// - Returns: false if it does not; else `release` has to follow.
    public func claim(_ bytes: Int) -> Bool {
        guard hasRoom(for: bytes) else { return false }
        adjust(by: bytes)
        return true
    }

    public func release(_ bytes: Int) { adjust(by: -bytes) }

    /// Whether half of it, and of its parent, is free also with so many bytes more.
    func staysHalfFree(with bytes: Int) -> Bool {
        used + bytes <= limit / 2 && parent?.staysHalfFree(with: bytes) ?? true
    }

    func adjust(by bytes: Int) {
        guard bytes != 0 else { return }
        counter.wrappingAdd(bytes, ordering: .relaxed)
        parent?.adjust(by: bytes)
    }
}
