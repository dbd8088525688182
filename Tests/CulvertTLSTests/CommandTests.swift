import Foundation
import Testing

@testable import CulvertTLS

/// Engines against the command-line tools of both libraries, over TCP.
@Suite struct CommandTests {
    /// A tool that connects to a port, and how it is told of credentials.
    struct Tool: Sendable, CustomTestStringConvertible {
        var path: String
        /// What to type so that it renews its key and asks for ours.
        var keyUpdate: String
        var arguments: @Sendable (_ port: UInt16, _ credentials: CredentialSource) -> [String]
        var testDescription: String { path }
    }

    static let tools = [
        Tool(path: "/usr/bin/openssl", keyUpdate: "K\n") { port, source in
            let given =
                switch source {
                case .files(let files):
                    ["-CAfile", files.ca, "-cert", files.certificate, "-key", files.key, "-verify_return_error",
                     "-verify_hostname", "hostb"]
                case .keys(_, let user): ["-psk_identity", user, "-psk", key, "-ciphersuites", "TLS_AES_128_GCM_SHA256"]
                case .directory: [String]()
                }
            return ["s_client", "-connect", "127.0.0.1:\(port)", "-tls1_3", "-alpn", "culvert/1"] + given
        },
        Tool(path: "/usr/bin/gnutls-cli", keyUpdate: "^rekey^\n") { port, source in
            let given =
                switch source {
                case .files(let files):
                    ["--x509cafile", files.ca, "--x509certfile", files.certificate, "--x509keyfile", files.key,
                     "--verify-hostname", "hostb", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3"]
                case .keys(_, let user):
                    ["--pskusername", user, "--pskkey", key,
                     "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK"]
                case .directory: [String]()
                }
            return ["--inline-commands", "--alpn", "culvert/1", "-p", "\(port)", "127.0.0.1"] + given
        },
    ].filter { FileManager.default.isExecutableFile(atPath: $0.path) }

    private static let key = String(repeating: "0f1e2d3c", count: 8)

    private static let engines = TLSBackend.allCases.flatMap { backend in
        TLSRecords.allCases.map { (backend: backend, records: $0) }
    }

    @Test(arguments: tools, engines)
    func toolsConnectWithCertificates(tool: Tool, engine: (backend: TLSBackend, records: TLSRecords)) throws {
        let pki = try TestPKI()
        let context = try pki.context("hostb", engine.backend, engine.records)
        let (names, said) = try Self.meet(tool, .files(pki.issue("hosta")), context)
        #expect(names == ["hosta"])
        #expect(said.contains("welcome"))
    }

    @Test(arguments: tools, TLSBackend.allCases)
    func toolsConnectWithKeys(tool: Tool, backend: TLSBackend) throws {
        let pki = try TestPKI()
        let file = try pki.write(Array("hosta:\(Self.key)\n".utf8), "keys.psk")
        let context = try TLSContext(TLSSettings(.keys(file: file, user: "hostb"), backend: backend))
        let (names, said) = try Self.meet(tool, .keys(file: file, user: "hosta"), context)
        #expect(names == ["hosta"])
        #expect(said.contains("welcome"))
    }

    /// The tool renews its key, says a line, is answered under a new key of ours, and hears the end.
    /// - Returns: who it was, and all that it printed.
    private static func meet(
        _ tool: Tool, _ source: CredentialSource, _ context: TLSContext
    ) throws -> (names: [String], said: String) {
        let listener = try TCPListener()
        let process = Process(), input = Pipe(), output = Pipe()
        process.executableURL = URL(fileURLWithPath: tool.path)
        process.arguments = tool.arguments(listener.port, source)
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
        defer {
            if process.isRunning { process.terminate() }
            process.waitUntilExit()
        }
        do {
            let connection = try listener.accept()
            let engine = try context.makeEngine(.server)
            var wire: [UInt8] = []
            while try !engine.handshake(taking: &wire) {
                try connection.write(engine.output())
                wire += try connection.read()
            }
            try connection.write(engine.output())
            let records = try #require((engine as? Engine)?.records)
            input.fileHandleForWriting.write(Data(tool.keyUpdate.utf8))
            while true {
                #expect(try engine.open(&wire).bytes.isEmpty)
                if records.writer.owesKeyUpdate { break }
                wire += try connection.read()
            }
            input.fileHandleForWriting.write(Data("hello\n".utf8))
            var heard: [UInt8] = []
            while true {
                heard += try engine.open(&wire).bytes
                if heard.contains(UInt8(ascii: "\n")) { break }
                wire += try connection.read()
            }
            #expect(heard == Array("hello\n".utf8))
            try connection.write(engine.seal(Array("welcome\n".utf8)))
            engine.close()
            try connection.write(engine.output())
            try input.fileHandleForWriting.close()
            connection.finishWriting()
            let said = try output.fileHandleForReading.readToEnd() ?? Data()
            return (engine.peer.names, String(decoding: said, as: UTF8.self))
        } catch {
            process.terminate()
            let said = try output.fileHandleForReading.readToEnd() ?? Data()
            Issue.record("\(error); the tool said: \(String(decoding: said, as: UTF8.self))")
            throw error
        }
    }
}

/// A port of the kernel's choice on the loopback. Whatever waits on it gives up after a minute.
private final class TCPListener {
    private let descriptor: Int32
    let port: UInt16

    init() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let ready = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, size) == 0 && listen(descriptor, 1) == 0
                    && getsockname(descriptor, address, &size) == 0
            }
        }
        guard ready else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        port = UInt16(bigEndian: address.sin_port)
        TCPConnection.limitWaiting(descriptor)
    }

    deinit { close(descriptor) }

    func accept() throws -> TCPConnection {
        let accepted = Glibc.accept(descriptor, nil, nil)
        guard accepted >= 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        return TCPConnection(accepted)
    }
}

private final class TCPConnection {
    private let descriptor: Int32

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        Self.limitWaiting(descriptor)
    }

    deinit { close(descriptor) }

    static func limitWaiting(_ descriptor: Int32) {
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    struct Ended: Error {}

    func read() throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count >= 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        guard count > 0 else { throw Ended() }
        return Array(buffer[..<count])
    }

    func write(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count >= 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
            rest = rest.dropFirst(count)
        }
    }

    func finishWriting() { shutdown(descriptor, Int32(SHUT_WR)) }
}
