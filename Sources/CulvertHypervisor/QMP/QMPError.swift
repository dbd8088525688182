/// Why a QMP connection or a command on it did not do what was asked.
public struct QMPError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// Nothing could be connected to.
        case unreachable
        /// QEMU answered a command with an error; `class` is QMP's, for example `GenericError` or `CommandNotFound`.
        case refused(class: String)
        /// No answer in time.
        case timedOut
        /// The connection ended.
        case closed
        /// What came is not QMP.
        case malformed
        /// The calling task was cancelled.
        case cancelled
    }

    public var kind: Kind
    /// Whose QMP it is and what is wrong; for `refused`, QEMU's `error.desc` as it came.
    public var description: String

    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// True if QEMU understood the command and said no; the connection is still good.
    public var isRefusal: Bool {
        if case .refused = kind { true } else { false }
    }
}
