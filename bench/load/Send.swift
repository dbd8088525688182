import ArgumentParser
import BenchSockets
import CulvertIO

struct Send: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Connects, sends, half-closes, and waits until the other end closes.")

    @Option(help: "Where to connect, as unix:PATH or tcp:HOST:PORT.", transform: Endpoint.init(_:))
    var to: Endpoint

    @Option(help: "How many bytes to send at most.")
    var bytes = Int.max

    @Option(help: "How many seconds to send at most.")
    var seconds = Double.infinity

    @OptionGroup var content: DataOption

    @Option(help: "Most bytes a system call.")
    var block = 256 << 10

    func validate() throws {
        guard bytes >= 0, block > 0 else { throw ValidationError("--bytes and --block count bytes") }
        guard bytes < .max || seconds < .infinity else { throw ValidationError("one of --bytes and --seconds ends it") }
    }

    func run() throws {
        let pattern = try content.pattern
        let socket = try Socket(to: to)
        let clock = Stopwatch()
        var sent = 0
        while sent < bytes, clock.elapsed < seconds {
            let piece = pattern.piece(at: sent, atMost: min(block, bytes - sent))
            try socket.send(piece)
            sent += piece.count
        }
        try socket.finishSending()
        // The receiver closes after it has read the last byte: only then are they delivered.
        try withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { (buffer) throws in
            guard try socket.receive(into: buffer) == 0 else {
                throw ValidationError("the other end sent bytes; is it culvert-load receive?")
            }
        }
        clock.report(bytes: sent)
    }
}

struct Receive: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Listens, takes one connection, reads it to its end, and closes it.")

    @Option(help: "Where to listen, as unix:PATH or tcp:HOST:PORT; port 0 is chosen by the kernel.", transform: Endpoint.init(_:))
    var listen: Endpoint

    @Flag(help: "Compare every byte with what --data says was sent.")
    var verify = false

    @OptionGroup var content: DataOption

    @Option(help: "Most bytes a system call.")
    var block = 256 << 10

    func validate() throws {
        guard block > 0 else { throw ValidationError("--block counts bytes") }
    }

    func run() throws {
        let pattern = verify ? try content.pattern : nil
        let listener = try Listener(on: listen)
        announce(listener.endpoint)
        let socket = try listener.accept()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: block, alignment: 4096)
        defer { buffer.deallocate() }
        let clock = Stopwatch()
        var received = 0
        while case let count = try socket.receive(into: buffer), count > 0 {
            if let pattern, !pattern.matches(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: received) {
                throw ValidationError("the bytes from offset \(received) on are not those that were sent")
            }
            received += count
        }
        clock.report(bytes: received)
    }
}

func announce(_ endpoint: Endpoint) {
    print(#"{"listening":"\#(endpoint)"}"#)
    flushOutput()
}
