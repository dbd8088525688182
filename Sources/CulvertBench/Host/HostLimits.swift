import BenchSockets
import enum CulvertIO.Endpoint
import CulvertTLS
import Glibc

/// How fast this host does, alone, what every byte has to go through. All figures are per core: CPU time of the thread
/// that does the work.
public struct HostLimits: Sendable, Codable, Equatable {
    /// Seconds of CPU time a GB at the two ends of one connection, 256 KiB a system call, no relay between.
    public struct SocketCost: Sendable, Codable, Equatable {
        public var send: Double
        public var receive: Double
        /// By the clock, both ends at once.
        public var megabytesPerSecond: Double
    }

    /// Seconds of CPU time a GB.
    public struct StageCost: Sendable, Codable, Equatable {
        public var send: Double
        public var receive: Double
    }

    /// Seconds of CPU time a GB in the records of TLS 1.3.
    public struct CipherCost: Sendable, Codable, Equatable {
        /// Whose cipher it is: a library's name, with its version if the records alone are its business.
        public var sealer: String
        public var cipher: Cipher
        public var seal: Double
        public var open: Double

        func isCipher(of setup: BenchPlan.Setup) -> Bool { sealer == setup.sealer && cipher == setup.cipher }
    }

    /// Seconds of CPU time a GB, from 64 MB of memory into a buffer of 256 KiB, as a relay's copies are.
    public var copy: Double
    /// The protocol's frames, made and taken apart in memory.
    public var framing: StageCost
    public var unix: SocketCost
    /// On the loopback interface. The kernel does most of a receiver's work in the sender's time.
    public var tcp: SocketCost
    public var ciphers: [CipherCost]

    /// Medians of three rounds, in which the stages alternate.
    static func measure(
        bytes: Int, _ setups: [BenchPlan.Setup], _ credentials: Credentials, in directory: String,
        progress: (String) -> Void
    ) throws -> HostLimits {
        let pattern = Pattern(.random)
        var rounds: [HostLimits] = []
        for round in 1 ... 3 {
            func show(_ stage: String) { progress("this host alone, round \(round) of 3: \(stage)") }
            show("memory copy")
            let copy = copyCost(of: pattern, bytes)
            show("frames")
            let framing = try FramingCost.measure(bytes: bytes)
            show("UNIX socket")
            let unix = try socketCost(.unix(path: "\(directory)/alone.sock"), pattern, bytes)
            show("TCP on the loopback interface")
            let tcp = try socketCost(.tcp(host: "127.0.0.1", port: 0), pattern, bytes)
            var ciphers: [CipherCost] = []
            for setup in setups where !ciphers.contains(where: { $0.isCipher(of: setup) }) {
                show("\(setup.sealer) \(setup.cipher.name)")
                ciphers.append(try cipherCost(setup, credentials, bytes))
            }
            rounds.append(HostLimits(copy: copy, framing: framing, unix: unix, tcp: tcp, ciphers: ciphers))
        }
        return HostLimits(medianOf: rounds)
    }

    init(copy: Double, framing: StageCost, unix: SocketCost, tcp: SocketCost, ciphers: [CipherCost]) {
        self.copy = copy
        self.framing = framing
        self.unix = unix
        self.tcp = tcp
        self.ciphers = ciphers
    }

    private init(medianOf rounds: [HostLimits]) {
        func median(_ figure: (HostLimits) -> Double) -> Double { Summary(rounds.map(figure))!.median }
        func socket(_ of: (HostLimits) -> SocketCost) -> SocketCost {
            SocketCost(
                send: median { of($0).send }, receive: median { of($0).receive },
                megabytesPerSecond: median { of($0).megabytesPerSecond })
        }
        self.init(
            copy: median(\.copy),
            framing: StageCost(send: median(\.framing.send), receive: median(\.framing.receive)), unix: socket(\.unix), tcp: socket(\.tcp),
            ciphers: rounds[0].ciphers.indices.map { index in
                var cipher = rounds[0].ciphers[index]
                cipher.seal = median { $0.ciphers[index].seal }
                cipher.open = median { $0.ciphers[index].open }
                return cipher
            })
    }

    // MARK: Stages

    private static func copyCost(of pattern: Pattern, _ bytes: Int) -> Double {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchSize.block, alignment: 4096)
        defer { buffer.deallocate() }
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        let start = Clock.threadCPU
        var copied = 0
        while copied < bytes {
            let piece = pattern.piece(at: copied, atMost: BenchSize.block)
            buffer.copyMemory(from: piece)
            copied += piece.count
        }
        return (Clock.threadCPU - start) / (Double(copied) / 1e9)
    }

    private static func socketCost(_ endpoint: Endpoint, _ pattern: Pattern, _ bytes: Int) throws -> SocketCost {
        let listener = try Listener(on: endpoint)
        let target = listener.endpoint
        let sender = Worker {
            let socket = try Socket(to: target)
            let start = Clock.threadCPU
            var sent = 0
            while sent < bytes {
                let piece = pattern.piece(at: sent, atMost: min(BenchSize.block, bytes - sent))
                try socket.send(piece)
                sent += piece.count
            }
            return Clock.threadCPU - start
        }
        let socket = try listener.accept()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BenchSize.block, alignment: 4096)
        defer { buffer.deallocate() }
        let (start, startCPU) = (Clock.now, Clock.threadCPU)
        var received = 0
        while case let count = try socket.receive(into: buffer), count > 0 { received += count }
        let gigabytes = Double(received) / 1e9
        let (seconds, cpu) = (Clock.now - start, Clock.threadCPU - startCPU)
        return SocketCost(
            send: try sender.value() / gigabytes, receive: cpu / gigabytes, megabytesPerSecond: gigabytes * 1000 / seconds)
    }

    private static func cipherCost(
        _ setup: BenchPlan.Setup, _ credentials: Credentials, _ bytes: Int
    ) throws -> CipherCost {
        let pair = try EnginePair(setup, credentials)
        let batch = 256 << 10
        let speed = try pair.measure(batch: batch, piece: 64 << 10, batches: max(1, bytes / batch))
        return CipherCost(sealer: setup.sealer, cipher: setup.cipher, seal: 1 / speed.seal, open: 1 / speed.open)
    }
}
