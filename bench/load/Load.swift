import ArgumentParser
import BenchSockets
import CulvertIO

@main
struct Load: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert-load",
        abstract: "Sends bytes into a stream, or receives them, and says how fast it went.",
        discussion: """
            Both ends know the bytes beforehand, so making and checking them costs next to nothing while the clock runs. \
            Each report is one line of JSON. 'started' and 'finished' are seconds of the machine's monotonic clock: on \
            one machine, a receiver's 'finished' less its sender's 'started' is the time that delivery took.
            """,
        subcommands: [Send.self, Receive.self])
}

struct Send: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Connects, sends, half-closes, and waits until the other end closes.")

    @Option(help: "Where to connect, as unix:PATH or tcp:HOST:PORT.", transform: Endpoint.init(_:))
    var to: Endpoint

    @Option(help: "How many bytes to send.")
    var bytes: Int

    @Option(help: "Bytes that no compressor shrinks, zeros, or words.")
    var data = Pattern.Content.random

    @Option(help: "Most bytes a system call.")
    var block = 256 << 10

    func validate() throws {
        guard bytes >= 0, block > 0 else { throw ValidationError("--bytes and --block count bytes") }
    }

    func run() throws {
        let pattern = Pattern(data)
        let socket = try Socket(to: to)
        let clock = Stopwatch()
        var sent = 0
        while sent < bytes {
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
        abstract: "Listens, takes one connection, reads it to its end and closes it.")

    @Option(help: "Where to listen, as unix:PATH or tcp:HOST:PORT; port 0 lets the kernel choose.", transform: Endpoint.init(_:))
    var listen: Endpoint

    @Flag(help: "Compare every byte with what --data says was sent.")
    var verify = false

    @Option(help: "What the sender was told to send.")
    var data = Pattern.Content.random

    @Option(help: "Most bytes a system call.")
    var block = 256 << 10

    func validate() throws {
        guard block > 0 else { throw ValidationError("--block counts bytes") }
    }

    func run() throws {
        let pattern = verify ? Pattern(data) : nil
        let listener = try Listener(on: listen)
        print(#"{"listening":"\#(listener.endpoint)"}"#)
        flushOutput()
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

extension Pattern.Content: ExpressibleByArgument {}
