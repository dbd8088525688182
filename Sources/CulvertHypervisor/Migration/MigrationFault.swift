/// What stopped a migration, as first noticed. `MigrationEvidence` finds the cause behind it.
enum MigrationFault: Error, Sendable, Equatable {
    /// Somebody or some limit wanted it to stop; a clause that says so.
    case stopped(String)
    /// It cannot be done as asked; a clause that says why and what to do.
    case impossible(String)
    case tunnel(TunnelError)
    case source(QMPError)
    case destination(QMPError)
    /// The source QEMU reports that the migration failed, and why in its own words.
    case stream(String?)
    /// The stream broke in post-copy.
    case split(String?)
    /// A limit ran out in post-copy, from where there is no way back.
    case leftInPostcopy(String)
    /// The source is done, but the guest could not be started at the destination.
    case notStarted(String)

    /// One of the QEMUs understood and said no.
    var isRefusal: Bool {
        switch self {
        case .source(let error), .destination(let error): error.isRefusal
        default: false
        }
    }

    /// There may be a cause behind it that only the relay or the other QEMU can tell.
    var hasDeeperCause: Bool {
        switch self {
        case .stopped, .impossible, .tunnel, .leftInPostcopy: false
        case .source(let error): error.kind == .closed
        case .destination(let error): !error.isRefusal
        case .stream, .split, .notStarted: true
        }
    }
}
