/// A value that any thread may hold and only one loop may touch.
///
/// Whoever drops it last releases the value, on whatever thread that is.
///
/// Unchecked, because the compiler cannot see that a loop is one thread; every access checks it instead.
public struct LoopBound<Value>: @unchecked Sendable {
    private let bound: Value
    private let loop: EventLoop

    public init(_ value: Value, loop: EventLoop) {
        self.bound = value
        self.loop = loop
    }

    public var value: Value {
        loop.preconditionCurrent()
        return bound
    }
}

/// Moves one value to another thread: the maker gives it up, the receiver takes it once.
///
/// Unchecked, because a descriptor's owner or a class instance leaves a loop whose state the compiler sees as one
/// region. The maker promises to keep no other way to what it moves. What nobody takes is released with the box.
public final class Transferred<Value: ~Copyable>: @unchecked Sendable {
    private var value: Value?

    public init(_ value: consuming Value) {
        self.value = consume value
    }

    /// Traps when called again.
    public func take() -> Value {
        guard let taken = value.take() else { preconditionFailure("a transferred value was taken twice") }
        return taken
    }
}
