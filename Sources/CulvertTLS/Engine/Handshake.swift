/// One handshake, done by a library over memory. Its outcome is two traffic secrets, with which the library's part is over.
protocol Handshake: AnyObject {
    /// Goes as far as `input` allows; `outcome` is nil while it needs more.
    func step(_ input: UnsafeRawBufferPointer) throws(TLSError) -> (consumed: Int, outcome: HandshakeOutcome?)

    /// What is to be sent since the last call, also after a throw.
    func takeOutput() -> [UInt8]
}

struct HandshakeOutcome {
    var reading: TrafficSecret
    var writing: TrafficSecret
    var peer: PeerIdentity
    var summary: String
}

extension HandshakeOutcome {
    /// - Parameters:
    ///   - transport: takes the alert that tells a peer without our protocol so.
    ///   - agreed: what the two have agreed on by ALPN.
    init(
        _ role: TLSRole, _ peer: PeerIdentity, by library: String, secrets: (client: TrafficSecret?, server: TrafficSecret?),
        agreed: UnsafeBufferPointer<UInt8>, _ transport: Transport
    ) throws(TLSError) {
        guard let client = secrets.client, let server = secrets.server else {
            throw TLSError(.handshake, "\(library) does not hand over its traffic secrets")
        }
        (reading, writing) = role == .client ? (server, client) : (client, server)
        self.peer = peer
        summary = "\(library) TLSv1.3 \(reading.suite.name)"
        guard agreed.elementsEqual(ApplicationProtocol.name.utf8) else {
            transport.write(RecordWriter(writing).alert(Alert.noApplicationProtocol.rawValue))
            throw ApplicationProtocol.missing
        }
    }
}

/// A library's loaded credentials and settings; immutable.
protocol HandshakeSource: Sendable {
    /// - Parameter peer: see `TLSContext.makeEngine`.
    func makeHandshake(_ role: TLSRole, with peer: String?) throws(TLSError) -> any Handshake
}

/// What a library takes for its network: it reads from the range fed to it and writes to `output`.
final class Transport {
    private var input = UnsafeRawBufferPointer(start: nil, count: 0)
    private var output: [UInt8] = []
    /// The end of what was read.
    private(set) var recent: [UInt8] = []
    private static let recentCount = 7

    /// Runs `body` with `range` as input; returns how much of it was left.
    func feeding<Result>(_ range: UnsafeRawBufferPointer, _ body: () -> Result) -> (Result, left: Int) {
        input = range
        defer { input = UnsafeRawBufferPointer(start: nil, count: 0) }
        let result = body()
        return (result, input.count)
    }

    var hasInput: Bool { !input.isEmpty }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(input.count, buffer.count)
        guard count > 0 else { return 0 }
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<count]))
        recent = (recent + input[..<count].suffix(Self.recentCount)).suffix(Self.recentCount)
        input = UnsafeRawBufferPointer(rebasing: input[count...])
        return count
    }

    func write(_ bytes: some Sequence<UInt8>) { output += bytes }

    func takeOutput() -> [UInt8] {
        defer { output = [] }
        return output
    }
}
