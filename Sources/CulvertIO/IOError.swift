import CLinux

/// A system call on a socket failed; reads as `connect to unix:/x.sock: Connection refused`.
public struct IOError: Error, Sendable, Equatable, CustomStringConvertible {
    public var errno: CInt
    /// What was tried and on what, for example `connect to unix:/x.sock`.
    public var operation: String
    /// The cause in words where `errno` alone would mislead or leave the reader without a next step.
    public var detail: String?

    public init(errno: CInt, operation: String, detail: String? = nil) {
        self.errno = errno
        self.operation = operation
        self.detail = detail
    }

    /// The symbol of `errno`, for example `ECONNREFUSED`.
    public var name: String {
        clinux_errno_name(errno).map { String(cString: $0) } ?? "errno \(errno)"
    }

    public var description: String {
        let cause = detail ?? clinux_errno_text(errno).map { String(cString: $0) } ?? name
        return "\(operation): \(cause)"
    }
}
