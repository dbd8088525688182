import Foundation
import Glibc

/// Something a test did that failed, or something it waited for that did not come.
struct Failure: Error, CustomStringConvertible {
    var operation: String
    /// 0 if no system call failed.
    var code: CInt

    init(_ operation: String, _ code: CInt = 0) {
        self.operation = operation
        self.code = code
    }

    var description: String { code == 0 ? operation : "\(operation): \(String(cString: strerror(code)))" }
}

/// Runs blocking work on a thread of its own.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

/// Waits until `condition` holds; an error names what did not happen.
func eventually(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(patience), _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw Failure("not within \(limit): \(what())") }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// Waits until `value` gives one.
func eventually<Value>(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(patience), _ value: () async throws -> Value?
) async throws -> Value {
    var found: Value?
    try await eventually(what(), within: limit) {
        found = try await value()
        return found != nil
    }
    return found!
}

/// Tells whether anybody still holds an object that lives on a loop; for nothing else.
final class WeakReference<Object: AnyObject>: @unchecked Sendable {
    private(set) weak var object: Object?
    init(_ object: Object?) { self.object = object }
}

/// How much of the heavy tests is done; from the environment, 1 by default.
func scaled(_ count: Int) -> Int {
    let scale = ProcessInfo.processInfo.environment["CULVERT_TEST_SCALE"].flatMap(Double.init) ?? 1
    return max(1, Int(Double(count) * scale))
}

/// Seconds for which anything is waited for. On an emulated machine the environment asks for more than a minute.
let patience = ProcessInfo.processInfo.environment["CULVERT_TEST_PATIENCE"].flatMap(Int.init) ?? 60

/// What this process has open, but for the timers that the concurrency runtime opens when it first needs them.
func openDescriptors() throws -> [String] {
    let directory = "/proc/self/fd"
    return try FileManager.default.contentsOfDirectory(atPath: directory)
        .map { (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(directory)/\($0)")) ?? "closed" }
        .filter { $0 != "anon_inode:[timerfd]" }.sorted()
}

/// Waits until no more than `count` descriptors are open. Fewer may be: what ended last may have been counted before.
func expectDescriptors(atMost count: Int) async throws {
    var open: [String] = []
    try await eventually("at most \(count) descriptors are open; there are \(open.count): \(open)") {
        open = try openDescriptors()
        return open.count <= count
    }
}
