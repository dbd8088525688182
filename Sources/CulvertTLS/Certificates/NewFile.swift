import Glibc

/// A file that must come into being whole, with its permissions from the first moment.
enum NewFile {
    /// - Parameter replacing: whether a file of that name may be replaced, which happens at once or not at all.
    static func write(_ bytes: [UInt8], to path: String, mode: mode_t, replacing: Bool) throws(TLSError) {
        guard replacing else { return try create(path, bytes, mode) }
        let temporary = path + ".new"
        unlink(temporary)
        try create(temporary, bytes, mode)
        guard rename(temporary, path) == 0 else {
            let error = failure(path, errno)
            unlink(temporary)
            throw error
        }
    }

    /// Every missing directory of `path`, readable by all.
    static func makeDirectory(_ path: String) throws(TLSError) {
        let parts = path.split(separator: "/")
        let root = path.hasPrefix("/") ? "/" : ""
        for count in stride(from: 1, through: parts.count, by: 1) {
            let directory = root + parts[..<count].joined(separator: "/")
            guard mkdir(directory, 0o755) != 0, errno != EEXIST else { continue }
            throw TLSError(.credentials, "directory \(directory): \(String(cString: strerror(errno)))")
        }
    }

    private static func create(_ path: String, _ bytes: [UInt8], _ mode: mode_t) throws(TLSError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure(path, errno) }
        defer { close(descriptor) }
        // The umask may have taken permissions away.
        guard fchmod(descriptor, mode) == 0, writeAll(descriptor, bytes), fsync(descriptor) == 0 else {
            let error = failure(path, errno)
            unlink(path)
            throw error
        }
    }

    private static func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return false }
            written += count
        }
        return true
    }

    private static func failure(_ path: String, _ code: Int32) -> TLSError {
        let advice = code == EEXIST ? "; it stays as it is" : ""
        return TLSError(.credentials, "\(path): \(String(cString: strerror(code)))\(advice)")
    }
}
