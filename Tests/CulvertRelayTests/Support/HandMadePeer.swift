import CulvertIO
import Glibc

@testable import CulvertTLS

/// A peer made by hand: a TLS connection on which a test says what it likes. Blocks; belongs to one thread.
final class HandMadePeer {
    private let socket: PlainSocket
    private let engine: any TLSEngine
    private var ciphertext: [UInt8] = []
    private var plaintext: [UInt8] = []
    private var hasEnded = false

    /// - Parameter role: client for a connection that was made, server for one that was accepted.
    init(_ socket: PlainSocket, _ role: TLSRole, _ context: TLSContext) throws {
        self.socket = socket
        engine = try context.makeEngine(role, with: "b")
        while true {
            let (consumed, done) = try ciphertext.withUnsafeBytes { try engine.handshake($0) }
            ciphertext.removeFirst(consumed)
            try flush()
            if done { return }
            let bytes = try socket.read()
            guard !bytes.isEmpty else { throw Failure("TLS handshake: the relay closed the connection") }
            ciphertext += bytes
        }
    }

    /// Connects to the TLS port of a relay.
    static func dial(_ relay: Endpoint, _ context: TLSContext) throws -> HandMadePeer {
        try HandMadePeer(try PlainSocket.connect(relay), .client, context)
    }

    /// The relay's.
    var certificate: PeerIdentity { engine.peer }

    // MARK: Saying

    func send(_ frames: Frame...) throws { try send(frames.flatMap(\.bytes)) }

    /// Plaintext of any kind.
    func send(_ bytes: [UInt8]) throws {
        let encrypted = try [UInt8](unsafeUninitializedCapacity: engine.maximumCiphertext(for: bytes.count)) { buffer, count in
            count = try bytes.withUnsafeBytes { try engine.encrypt($0, into: UnsafeMutableRawBufferPointer(buffer)) }
        }
        try socket.write(encrypted)
    }

    /// Renews its key ahead of `bytes`, and says so.
    func sendKeyUpdate(before bytes: [UInt8]) throws {
        (engine as! Engine).records!.writer.owesKeyUpdate = true
        try send(bytes)
    }

    /// Bytes that are no TLS.
    func sendUnencrypted(_ bytes: [UInt8]) throws { try socket.write(bytes) }

    /// Says close_notify.
    func finish() throws {
        engine.close()
        try flush()
    }

    /// Ends the connection below TLS, as far as it speaks.
    func finishWriting() { socket.finishWriting() }

    func close() { socket.close() }

    private func flush() throws {
        guard engine.pendingOutput > 0 else { return }
        try socket.write([UInt8](unsafeUninitializedCapacity: engine.pendingOutput) { buffer, count in
            count = engine.drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
        })
    }

    // MARK: Hearing

    /// The next frame; nil once the relay has ended the connection.
    func receive() throws -> Frame? {
        while true {
            if let frame = nextFrame() { return frame }
            guard try fill() else { return nil }
        }
    }

    /// Passes over frames of other kinds, if there are any.
    func receive(_ kind: UInt8) throws -> Frame {
        while let frame = try receive() {
            if frame.kind == kind { return frame }
        }
        throw Failure("the relay ended the connection without a frame of type \(kind)")
    }

    /// Everything up to the end, which may be an error.
    func receiveAll() -> [Frame] {
        var frames: [Frame] = []
        while let frame = try? receive() { frames.append(frame) }
        return frames
    }

    /// Plaintext of any kind.
    func receive(exactly count: Int) throws -> [UInt8] {
        while plaintext.count < count {
            guard try fill() else { throw Failure("receive \(count) bytes: the relay ended the connection after \(plaintext.count)") }
        }
        defer { plaintext.removeFirst(count) }
        return Array(plaintext[..<count])
    }

    /// Bytes that are no TLS.
    func receiveUnencrypted(exactly count: Int) throws -> [UInt8] { try socket.read(exactly: count) }

    /// The relay has ended its direction of the connection, whether that was read or not.
    var isEnded: Bool {
        var info = tcp_info()
        var length = socklen_t(MemoryLayout<tcp_info>.size)
        getsockopt(socket.descriptor, CInt(IPPROTO_TCP), TCP_INFO, &info, &length)
        return Int(info.tcpi_state) != TCP_ESTABLISHED
    }

    private func nextFrame() -> Frame? {
        guard plaintext.count >= 16 else { return nil }
        let (length, stream) = plaintext.withUnsafeBytes {
            (Int(UInt32(bigEndian: $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self))),
             UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
        }
        guard plaintext.count >= 16 + length else { return nil }
        defer { plaintext.removeFirst(16 + length) }
        return Frame(kind: plaintext[0], flags: plaintext[1], stream: stream, body: Array(plaintext[16..<16 + length]))
    }

    /// - Returns: false at the end.
    private func fill() throws -> Bool {
        guard !hasEnded else { return false }
        let step = try decrypt()
        if step.produced > 0 { return true }
        if step.ended { return false }
        let bytes = try socket.read()
        hasEnded = bytes.isEmpty
        ciphertext += bytes
        return true
    }

    private func decrypt() throws -> TLSDecrypted {
        var step = TLSDecrypted(consumed: 0, produced: 0, ended: false)
        plaintext += try [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
            step = try ciphertext.withUnsafeBytes { try engine.decrypt($0, into: UnsafeMutableRawBufferPointer(buffer)) }
            count = step.produced
        }
        ciphertext.removeFirst(step.consumed)
        hasEnded = hasEnded || step.ended
        return step
    }
}
