import CLinux
import Glibc

/// The file of a bound UNIX socket. Removes it in the end, unless another has taken its place.
struct SocketFile: ~Copyable {
    private let path: String
    private let device: dev_t
    private let inode: ino_t

    /// Binds `socket` to `path`, replacing a file that no process has a socket for.
    ///
    /// A bound socket refuses connections until it listens, so owner, group and mode are in force before anybody can
    /// connect, and the process's umask, which other threads share, stays as it is. Binding under another name and
    /// renaming would do as well, but `ss -x` and the peers' getpeername would show that name ever after.
    static func bind(
        _ socket: borrowing Descriptor, to path: String, options: UnixSocketOptions, operation: String
    ) throws(IOError) -> SocketFile {
        guard let address = SocketAddress(unixPath: path) else { throw .unusablePath(path, operation: operation) }
        let owner = try options.owner.map { name throws(IOError) in try Accounts.userID(name, operation: operation) }
        let group = try options.group.map { name throws(IOError) in try Accounts.groupID(name, operation: operation) }

        try removeStale(path, address, operation: operation)
        let result = address.withSockaddr { clinux_bind(socket.rawValue, $0, $1) }
        guard result == 0 else {
            let detail = result == -ENOENT ? "its directory does not exist; create it" : nil
            throw IOError(errno: -result, operation: operation, detail: detail)
        }
        let status = try status(path, operation: operation)
        let file = SocketFile(path: path, device: status.st_dev, inode: status.st_ino)
        try file.setAccess(owner: owner, group: group, mode: options.mode, operation: operation)
        return file
    }

    private borrowing func setAccess(owner: uid_t?, group: gid_t?, mode: mode_t?, operation: String) throws(IOError) {
        if owner != nil || group != nil {
            // The greatest number says: leave it as it is.
            guard lchown(path, owner ?? .max, group ?? .max) == 0 else {
                throw IOError(errno: errno, operation: "\(operation): set owner and group of its file")
            }
        }
        if let mode {
            guard fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) == 0 else {
                throw IOError(errno: errno, operation: "\(operation): set the mode of its file")
            }
        }
    }

    deinit {
        // While the socket still listens nobody replaces its file, so what is compared is what is removed.
        if let status = try? Self.status(path, operation: ""), status.st_dev == device, status.st_ino == inode {
            unlink(path)
        }
    }

    private static func status(_ path: String, operation: String) throws(IOError) -> stat {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw IOError(errno: errno, operation: operation) }
        return status
    }

    /// Removes the file of a socket that no process holds any more; throws if `path` is taken.
    fileprivate static func removeStale(_ path: String, _ address: SocketAddress, operation: String) throws(IOError) {
        let found: stat
        do {
            found = try status(path, operation: operation)
        } catch where error.errno == ENOENT {
            return
        }
        guard found.st_mode & S_IFMT == S_IFSOCK else {
            throw IOError(
                errno: EADDRINUSE, operation: operation,
                detail: "a file that is no socket has that path; move it away or choose another path")
        }
        switch try probe(address, operation: operation) {
        case ECONNREFUSED:
            guard unlink(path) == 0 || errno == ENOENT else {
                throw IOError(errno: errno, operation: "\(operation): remove the socket that nobody uses there")
            }
        case ENOENT:
            return
        case 0, EPROTOTYPE:
            throw IOError(
                errno: EADDRINUSE, operation: operation,
                detail: "a running process has that socket; stop it or choose another path")
        case let error:
            throw IOError(errno: error, operation: "\(operation): see whether the socket there is in use")
        }
    }

    /// The errno of a connect with a datagram socket, which ends in EPROTOTYPE where a stream socket lives. A stream
    /// connection would tell as much, but be accepted: a QEMU that waits there for a migration would take it for one.
    private static func probe(_ address: SocketAddress, operation: String) throws(IOError) -> CInt {
        let raw = clinux_socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue))
        guard raw >= 0 else { throw IOError(errno: -raw, operation: operation) }
        let socket = Descriptor(adopting: raw)
        return -address.withSockaddr { clinux_connect(socket.rawValue, $0, $1) }
    }
}

/// The file that a UNIX socket leaves behind when its process dies.
public enum StaleSocket {
    /// Removes it. A socket that a process still holds stays, and so does a file that is no socket.
    public static func remove(_ path: String) {
        guard let address = SocketAddress(unixPath: path) else { return }
        try? SocketFile.removeStale(path, address, operation: "remove \(path)")
    }
}

extension IOError {
    static func unusablePath(_ path: String, operation: String) -> IOError {
        IOError(
            errno: path.utf8.count > Endpoint.longestUnixPath ? ENAMETOOLONG : EINVAL, operation: operation,
            detail: "a UNIX socket's path has 1 to \(Endpoint.longestUnixPath) bytes and no NUL")
    }
}
