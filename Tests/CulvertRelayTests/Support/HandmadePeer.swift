import CulvertIO
import CulvertTLS

/// A peer made by hand: good TLS over a blocking socket, and above it whatever a test says. Belongs to one thread.
final class HandmadePeer {
    private let socket: PlainSocket
    private let engine: any TLSEngine
    /// Ciphertext that waits to be decrypted.
    private var input: [UInt8] = []

    /// Dials `endpoint` and shakes hands to the end.
    init(dialling endpoint: Endpoint, _ credentials: TLSContext) throws {
        socket = try PlainSocket.connect(endpoint)
        engine = try credentials.makeEngine(.client)
        while try !handshake() {
            let piece = try socket.read()
            guard !piece.isEmpty else { throw Failure("shake hands: the relay closed the connection") }
            input += piece
        }
    }

    /// The other end's certificate.
    var certificate: PeerCertificate { engine.peer }

    private func handshake() throws -> Bool {
        let step = try input.withUnsafeBytes { try engine.handshake($0) }
        input.removeFirst(step.consumed)
        let output = [UInt8](unsafeUninitializedCapacity: engine.pendingOutput) { buffer, count in
            count = engine.drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
        }
        try socket.write(output)
        return step.done
    }

    func say(_ bytes: [UInt8]) throws {
        let room = engine.maximumCiphertext(for: bytes.count)
        let ciphertext = try [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
            count = try bytes.withUnsafeBytes {
                try engine.encrypt($0, into: UnsafeMutableRawBufferPointer(buffer))
            }
        }
        try socket.write(ciphertext)
    }

    /// All that the other end says until it closes the connection, one way or another.
    func hearToEnd() throws -> [UInt8] {
        var heard: [UInt8] = []
        while true {
            let ended = try decrypt(into: &heard)
            guard !ended, let piece = try? socket.read(), !piece.isEmpty else { return heard }
            input += piece
        }
    }

    /// - Returns: true once the other end has said that it ends.
    private func decrypt(into heard: inout [UInt8]) throws -> Bool {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while !input.isEmpty {
            let step = try input.withUnsafeBytes { ciphertext in
                try buffer.withUnsafeMutableBytes { try engine.decrypt(ciphertext, into: $0) }
            }
            input.removeFirst(step.consumed)
            heard += buffer[..<step.produced]
            if step.ended { return true }
            if step.consumed == 0 && step.produced == 0 { return false }
        }
        return false
    }
}
