import ArgumentParser
import BenchSockets
import CulvertIO

/// The least that a pair of relays can cost: no protocol, no multiplexing, no event loop, just the system calls and, unless
/// they only splice, this OpenSSL's cipher. What a relay costs above it is the relay's own doing.
@main
struct Floor: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert-floor",
        abstract: "Carries one stream, one way, as cheaply as can be; a yardstick that protects nothing.",
        subcommands: [Seal.self, Unseal.self, Splice.self])
}

struct Seal: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Encrypts what it receives, in bare AES-256-GCM records, and sends it on.")
    @OptionGroup var route: Route

    func run() throws {
        try route.carry { (input, output) throws in
            let plaintext = Batch(bytes: route.batch)
            let ciphertext = Batch(bytes: plaintext.bytes.count / Record.plaintext * Record.sealed)
            let cipher = Record.Cipher(sealing: true)
            while case let count = try input.receive(into: plaintext.bytes), count > 0 {
                var sealed = 0
                for start in stride(from: 0, to: count, by: Record.plaintext) {
                    let size = min(Record.plaintext, count - start)
                    cipher.seal(plaintext.bytes.baseAddress! + start, size, to: ciphertext.bytes.baseAddress! + sealed)
                    sealed += Record.header + size + Record.tag
                }
                try output.send(UnsafeRawBufferPointer(rebasing: ciphertext.bytes[..<sealed]))
            }
        }
    }
}

struct Unseal: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "open", abstract: "Decrypts what it receives and sends it on.")
    @OptionGroup var route: Route

    func run() throws {
        try route.carry { (input, output) throws in
            let plaintext = Batch(bytes: route.batch)
            // Room for a part of a record left over from the last batch.
            let ciphertext = Batch(bytes: (plaintext.bytes.count / Record.plaintext) * Record.sealed)
            let cipher = Record.Cipher(sealing: false)
            var filled = 0
            while case let count = try input.receive(into: .init(rebasing: ciphertext.bytes[filled...])), count > 0 {
                filled += count
                var consumed = 0, opened = 0
                while let size = Record.size(ciphertext.bytes[consumed..<filled]) {
                    guard cipher.open(
                        ciphertext.bytes.baseAddress! + consumed, size, to: plaintext.bytes.baseAddress! + opened)
                    else { throw ValidationError("a record does not authenticate") }
                    consumed += Record.header + size + Record.tag
                    opened += size
                }
                try output.send(UnsafeRawBufferPointer(rebasing: plaintext.bytes[..<opened]))
                ciphertext.bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: ciphertext.bytes[consumed..<filled]))
                filled -= consumed
            }
            guard filled == 0 else { throw ValidationError("the stream ended inside a record") }
        }
    }
}

/// What a relay of plaintext can cost at least: its bytes never enter the process.
struct Splice: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Has the kernel move what arrives on, through a pipe.")
    @OptionGroup var route: Route

    func run() throws {
        try route.carry { (input, output) throws in
            let pipe = try Pipe(capacity: route.batch)
            while try pipe.move(from: input, to: output) > 0 {}
        }
    }
}

/// Where the one stream comes from and goes to.
struct Route: ParsableArguments {
    @Option(help: "Where to listen, as unix:PATH or tcp:HOST:PORT.", transform: Endpoint.init(_:))
    var listen: Endpoint

    @Option(help: "Where to connect, as unix:PATH or tcp:HOST:PORT.", transform: Endpoint.init(_:))
    var to: Endpoint

    @Option(help: "Most plaintext bytes a system call, a multiple of 16384.")
    var batch = 256 << 10

    func validate() throws {
        guard batch > 0, batch.isMultiple(of: Record.plaintext) else {
            throw ValidationError("--batch is not a multiple of \(Record.plaintext)")
        }
    }

    /// Serves one connection after the other until it is killed: runs `body` between the two ends, passes the half-close
    /// on, and closes the input when the output's reader has closed.
    func carry(_ body: (borrowing Socket, borrowing Socket) throws -> Void) throws -> Never {
        let listener = try Listener(on: listen)
        let end = Batch(bytes: 1)
        while true {
            let input = try listener.accept()
            let output = try Socket(to: to)
            try body(input, output)
            try output.finishSending()
            _ = try output.receive(into: end.bytes)
        }
    }
}

/// Page-aligned memory, freed when it goes out of scope.
struct Batch: ~Copyable {
    let bytes: UnsafeMutableRawBufferPointer
    init(bytes count: Int) { bytes = .allocate(byteCount: count, alignment: 4096) }
    deinit { bytes.deallocate() }
}
