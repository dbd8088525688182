import ArgumentParser
import BenchSockets
import CulvertIO

struct Ask: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Sends some bytes, waits until they are back, and again, for a while; reports every round trip.")

    @Option(help: "Where to connect, as unix:PATH or tcp:HOST:PORT; echo answers.", transform: Endpoint.init(_:))
    var to: Endpoint

    @Option(help: "How long to go on asking.")
    var seconds: Double

    @Option(help: "How many bytes to send and to wait for.")
    var size = 64

    @Option(help: "Rest between an answer and the next question, in microseconds.")
    var pause = 0

    func validate() throws {
        guard size > 0, seconds > 0, pause >= 0 else { throw ValidationError("--size and --seconds count from 1") }
    }

    func run() throws {
        let socket = try Socket(to: to)
        let question = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
        let answer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
        defer {
            question.deallocate()
            answer.deallocate()
        }
        question.initializeMemory(as: UInt8.self, repeating: 0x5a)
        // The first opens the stream and its far connection.
        var times: [Int] = []
        let clock = Stopwatch()
        repeat {
            let asked = clock.elapsed
            try socket.send(UnsafeRawBufferPointer(question))
            guard try socket.receiveWhole(answer) else { throw ValidationError("the stream broke off") }
            times.append(Int((clock.elapsed - asked) * 1e6))
            Stopwatch.rest(microseconds: pause)
        } while clock.elapsed < seconds
        print(#"{"microseconds":\#(times.dropFirst())}"#)
        flushOutput()
    }
}

struct Echo: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Listens, takes one connection after the other, and gives back what comes.")

    @Option(help: "Where to listen, as unix:PATH or tcp:HOST:PORT; port 0 is chosen by the kernel.", transform: Endpoint.init(_:))
    var listen: Endpoint

    func run() throws {
        let listener = try Listener(on: listen)
        announce(listener.endpoint)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            let socket = try listener.accept()
            while case let count = try socket.receive(into: buffer), count > 0 {
                try socket.send(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            }
        }
    }
}
