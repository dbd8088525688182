import Glibc

/// A system call that failed.
struct SystemError: Error, Equatable, CustomStringConvertible {
    /// What was being done to what, as in `open /etc/x`.
    var action: String
    var code: CInt

    init(_ action: String, code: CInt = errno) {
        self.action = action
        self.code = code
    }

    /// The system's words for the cause alone.
    var reason: String { String(cString: strerror(code)) }

    var description: String { "\(action): \(reason)" }
}

/// What `hostname` prints.
func ownHostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "" }
    return buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
}

/// Reads a whole small file.
func readText(_ path: String) throws(SystemError) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError("open \(path)") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while true {
        let count = read(descriptor, &chunk, chunk.count)
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw SystemError("read \(path)") }
        if count == 0 { break }
        bytes += chunk[..<count]
    }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw SystemError("read \(path)", code: EILSEQ) }
    return text
}
