import CulvertIO
import Foundation
import Synchronization
import Testing

/// Every wait of these tests ends after this long, and then the test fails.
let patience: TimeInterval = 20

struct WaitedTooLong: Error, CustomStringConvertible {
    var description: String
}

/// Carries what happens on loops to the test's thread, in order.
final class Inbox<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])
    private let condition = NSCondition()

    func put(_ element: Element) {
        condition.lock()
        elements.withLock { $0.append(element) }
        condition.signal()
        condition.unlock()
    }

    /// Waits for the next element.
    func take(_ what: String = "an element") throws -> Element {
        let limit = Date(timeIntervalSinceNow: patience)
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let element = elements.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { return element }
            guard condition.wait(until: limit) else { throw WaitedTooLong(description: "waited too long for \(what)") }
        }
    }

    func take(count: Int) throws -> [Element] {
        try (0..<count).map { try take("element \($0) of \(count)") }
    }

    var isEmpty: Bool { elements.withLock { $0.isEmpty } }
}

extension EventLoop {
    /// Runs `body` on the loop and waits for its result.
    func sync<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let inbox = Inbox<Result<Value, any Error>>()
        execute { inbox.put(Result(catching: body)) }
        return try inbox.take("the loop").get()
    }
}

extension EventLoop {
    /// Runs `body` while the loop waits for it, so that the loop finds all its effects at once.
    func hold(_ body: () throws -> Void) throws {
        let isHeld = Inbox<Bool>(), isDone = Inbox<Bool>()
        execute {
            isHeld.put(true)
            _ = try? isDone.take()
        }
        _ = try isHeld.take("the loop")
        defer { isDone.put(true) }
        try body()
    }
}

/// Runs `body` with a loop that is stopped afterwards.
func withLoop<Value>(_ body: (EventLoop) throws -> Value) throws -> Value {
    let loop = try EventLoop(name: "test")
    loop.start()
    defer { loop.stop() }
    return try body(loop)
}

/// Runs `body` with a directory that is removed afterwards. Its path is short enough for sockets.
func withDirectory<Value>(_ body: (String) throws -> Value) throws -> Value {
    let path = "/tmp/culvert-io-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

/// Polls `condition`, for what no event tells.
func eventually(_ what: String, _ condition: () throws -> Bool) throws {
    let limit = Date(timeIntervalSinceNow: patience)
    while !(try condition()) {
        guard Date() < limit else { throw WaitedTooLong(description: "waited too long until \(what)") }
        usleep(1000)
    }
}

extension Descriptor {
    borrowing func write(_ text: String) -> Transfer {
        var text = text
        return text.withUTF8 { write(UnsafeRawBufferPointer($0)) }
    }

    /// What can be read at once: text, or what came instead.
    borrowing func readText(atMost count: Int = 65536) -> (text: String, end: Transfer) {
        var text = ""
        var buffer = [UInt8](repeating: 0, count: count)
        while true {
            let transfer = buffer.withUnsafeMutableBytes { read(into: $0) }
            guard case .bytes(let count) = transfer else { return (text, transfer) }
            text += String(decoding: buffer[..<count], as: UTF8.self)
        }
    }

    /// Reads until the stream ends or fails.
    borrowing func readToEnd() throws -> (text: String, end: Transfer) {
        var text = ""
        var end = Transfer.wouldBlock
        let limit = Date(timeIntervalSinceNow: patience)
        while end == .wouldBlock {
            guard Date() < limit else { throw WaitedTooLong(description: "the stream did not end") }
            var poll = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
            Glibc.poll(&poll, 1, 100)
            let (more, result) = readText()
            text += more
            end = result
        }
        return (text, end)
    }
}
