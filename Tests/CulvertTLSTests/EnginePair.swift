@testable import CulvertTLS

/// Two engines with nothing but memory between them.
final class EnginePair {
    let client: any TLSEngine
    let server: any TLSEngine

    init(client: TLSContext, server: TLSContext) throws {
        self.client = try client.makeEngine(.client)
        self.server = try server.makeEngine(.server)
    }

    /// Shakes hands to the end, whoever has to speak.
    func handshake() throws {
        var toServer: [UInt8] = [], toClient: [UInt8] = []
        var clientDone = false, serverDone = false
        while !(clientDone && serverDone) {
            if !clientDone { clientDone = try client.handshake(taking: &toClient) }
            toServer += client.output()
            if !serverDone { serverDone = try server.handshake(taking: &toServer) }
            toClient += server.output()
        }
    }
}

extension TLSEngine {
    /// Feeds `input` and removes what was consumed.
    func handshake(taking input: inout [UInt8]) throws(TLSError) -> Bool {
        let bytes = input
        input = []
        var result = (consumed: 0, done: false)
        var failure: TLSError?
        bytes.withUnsafeBytes { raw in
            do throws(TLSError) { result = try handshake(raw) } catch { failure = error }
        }
        if let failure { throw failure }
        input = Array(bytes[result.consumed...])
        return result.done
    }

    /// All pending output.
    func output() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: pendingOutput) { buffer, count in
            count = drainOutput(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }
}
