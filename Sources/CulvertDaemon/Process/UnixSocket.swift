import CulvertIO
import Glibc

/// UNIX sockets for the blocking and the small: the admin client, `connect`, sd_notify.
public enum UnixSocket {
    /// Connects a blocking stream socket. Its owner closes it.
    static func connect(_ path: String) throws(SystemError) -> CInt {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("make a socket") }
        let result = try withAddress(path) { address, length in
            Glibc.connect(descriptor, address, length)
        }
        guard result == 0 else {
            let error = SystemError("connect to \(path)")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// A leading `@` stands for the NUL of an abstract name, as in sd_notify(3).
    static func withAddress<Result>(
        _ path: String, abstract: Bool = false, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) throws(SystemError) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count <= Endpoint.longestUnixPath else {
            throw SystemError("use the path \(path)", code: ENAMETOOLONG)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        var length = MemoryLayout<sockaddr_un>.size
        if abstract, bytes.first == UInt8(ascii: "@") {
            address.sun_path.0 = 0
            // An abstract name is as long as the address says, not up to a NUL.
            length = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + bytes.count
        }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
        }
    }

    /// What is at a path where a socket shall be made.
    enum Occupant: Equatable {
        case nothing
        /// A socket file that nobody listens on any more.
        case stale
        /// Somebody listens there.
        case live
        /// No socket, or one that cannot be told.
        case other(String)
    }

    static func occupant(of path: String) -> Occupant {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            return errno == ENOENT ? .nothing : .other(SystemError("look at \(path)").reason)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { return .other("it is not a socket") }
        do throws(SystemError) {
            close(try connect(path))
            return .live
        } catch {
            return error.code == ECONNREFUSED ? .stale : .other(error.reason)
        }
    }
}
