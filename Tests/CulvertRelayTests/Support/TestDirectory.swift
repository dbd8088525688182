import CulvertIO
import Foundation

/// A directory that goes when the test ends. Its path is short, because a UNIX socket's path is.
final class TestDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/culvert-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("make a directory", errno) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    subscript(name: String) -> String { "\(path)/\(name)" }

    /// A UNIX socket in it.
    func socket(_ name: String) -> Endpoint { .unix(path: self[name]) }
}
