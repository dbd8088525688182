import ArgumentParser
import BenchSockets
import CulvertIO

struct FanOut: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Opens many streams with a byte each, waits for a line on standard input, sends through all at once.",
        discussion: "Says when the streams are open. To be received by fan-in.")

    @Option(help: "Where to connect, as unix:PATH or tcp:HOST:PORT.", transform: Endpoint.init(_:))
    var to: Endpoint

    @Option(help: "How many streams.")
    var streams: Int

    @Option(help: "How many bytes to send through all of them together.")
    var bytes: Int

    @OptionGroup var content: DataOption

    @Option(help: "Most bytes a system call.")
    var block = 256 << 10

    func validate() throws {
        guard streams > 0, bytes >= 2 * streams, block > 0 else {
            throw ValidationError("--streams and --block count from 1, and there are at least two bytes a stream")
        }
    }

    func run() throws {
        let pattern = try content.pattern
        let bundle = try Bundle(.sending)
        for _ in 0 ..< streams {
            let socket = try Socket(to: to)
            try socket.send(pattern.piece(at: 0, atMost: 1))
            try bundle.add(socket)
        }
        reportOpened(streams)
        guard readLine() != nil else { throw ValidationError("nobody says when to begin") }

        let clock = Stopwatch()
        var sent = [Int](repeating: 1, count: streams)
        while bundle.isOpen {
            try bundle.forEachReady { index in
                guard sent[index] < share(of: index) else {
                    // Its receiver has closed it, having read the last byte.
                    guard try bundle.receive(index, nothing) == 0 else { throw ValidationError("the other end sent bytes") }
                    return bundle.close(index)
                }
                sent[index] += try bundle.send(index, pattern.piece(at: sent[index], atMost: min(block, share(of: index) - sent[index])))
                if sent[index] == share(of: index) { try bundle.finishSending(index) }
            }
        }
        clock.report(bytes: bytes)
    }

    /// Bytes of one stream, the one that opened it included.
    private func share(of index: Int) -> Int { bytes / streams + (index < bytes % streams ? 1 : 0) }
}

struct FanIn: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Listens, takes many connections, says when each has brought a byte, and reads all to their ends.")

    @Option(help: "Where to listen, as unix:PATH or tcp:HOST:PORT; port 0 is chosen by the kernel.", transform: Endpoint.init(_:))
    var listen: Endpoint

    @Option(help: "How many streams.")
    var streams: Int

    @Option(help: "Most bytes a system call.")
    var block = 256 << 10

    func validate() throws {
        guard streams > 0, block > 0 else { throw ValidationError("--streams and --block count from 1") }
    }

    func run() throws {
        let listener = try Listener(on: listen)
        announce(listener.endpoint)
        let bundle = try Bundle(.receiving)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: block, alignment: 4096)
        defer { buffer.deallocate() }
        for _ in 0 ..< streams {
            let socket = try listener.accept()
            guard try socket.receive(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<1])) == 1 else {
                throw ValidationError("a stream ended before its first byte")
            }
            try bundle.add(socket)
        }
        reportOpened(streams)

        let clock = Stopwatch()
        var received = streams
        while bundle.isOpen {
            try bundle.forEachReady { index in
                guard let count = try bundle.receive(index, buffer) else { return }
                received += count
                if count == 0 { bundle.close(index) }
            }
        }
        clock.report(bytes: received)
    }
}

private func reportOpened(_ streams: Int) {
    print(#"{"opened":\#(streams)}"#)
    flushOutput()
}

/// Room for the byte that must not come.
private nonisolated(unsafe) let nothing = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
