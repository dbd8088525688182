import Glibc

/// The process's last descriptors, which connections leave to others: what opens a file for a moment may not survive
/// being refused one. libdispatch, which looks at its threads' load in /proc, ends the process then.
enum DescriptorReserve {
    private static let most: CInt = 64

    /// Whether a descriptor that was just opened is one of the reserve. Linux gives out the lowest number that is free.
    static func includes(_ descriptor: CInt) -> Bool {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return false }
        let count = CInt(clamping: limit.rlim_cur)
        return descriptor >= count - min(most, count / 8)
    }

    /// Whether the next descriptor would be one of the reserve, or none.
    /// - Parameter descriptor: any that is open.
    static func isReached(probing descriptor: CInt) -> Bool {
        let probe = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard probe >= 0 else { return true }
        defer { close(probe) }
        return includes(probe)
    }
}
