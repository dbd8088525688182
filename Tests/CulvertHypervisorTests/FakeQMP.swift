import CulvertTestSupport
import Foundation
import Synchronization

/// A QMP server that answers as it is told.
final class FakeQMP: Sendable {
    enum Answer: Sendable {
        /// JSON of the reply's `return`.
        case returns(String)
        case error(class: String, desc: String)
        /// Bytes as they are, for what no real QEMU would send.
        case raw([String])
        case nothing
        case close
    }

    struct Command: Sendable {
        let name: String
        let line: String
        let id: UInt64
    }

    static let greeting = #"{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#

    let path: String
    private let listener: StreamSocket
    private let client = Mutex<StreamSocket?>(nil)
    private let heard = Mutex<[Command]>([])

    /// Serves one client after another. `piece` cuts what is sent into writes of so many bytes.
    init(
        in directory: TemporaryDirectory, name: String = "fake.qmp", greeting: String? = FakeQMP.greeting,
        piece: Int = .max, answer: @escaping @Sendable (Command) -> Answer
    ) throws {
        path = directory(name)
        listener = try StreamSocket.listen(unix: path)
        Thread.detachNewThread { [listener, weak self] in
            while let client = listener.accept() {
                guard let server = self else { return }
                server.client.withLock { $0 = client }
                if let greeting { try? Self.send([greeting], to: client, piece) }
                server.serve(client, piece, answer)
            }
        }
    }

    deinit {
        listener.shutdown()
        hangUp()
    }

    /// The commands that came, in order, without those that only look.
    var commands: [String] { heard.withLock { $0.map(\.name) } }

    func say(_ line: String) throws { try client.withLock { $0 }?.write(Array("\(line)\r\n".utf8)) }

    func hangUp() { client.withLock { $0 }?.shutdown() }

    private func serve(_ client: StreamSocket, _ piece: Int, _ answer: (Command) -> Answer) {
        var unread: [UInt8] = []
        while let bytes = try? client.read(), !bytes.isEmpty {
            unread += bytes
            while let end = unread.firstIndex(of: UInt8(ascii: "\n")) {
                let line = Data(unread[..<end])
                unread.removeSubrange(...end)
                guard let command = Self.parse(line) else { return client.shutdown() }
                heard.withLock { $0.append(command) }
                let reply = command.name == "qmp_capabilities" ? .returns("{}") : answer(command)
                let lines: [String]
                switch reply {
                case .returns(let content): lines = [#"{"return": \#(content), "id": \#(command.id)}"#]
                case .error(let kind, let desc):
                    lines = [#"{"id": \#(command.id), "error": {"class": "\#(kind)", "desc": "\#(desc)"}}"#]
                case .raw(let text): lines = text
                case .nothing: continue
                case .close: return client.shutdown()
                }
                try? Self.send(lines, to: client, piece)
            }
        }
    }

    private static func send(_ lines: [String], to client: StreamSocket, _ piece: Int) throws {
        var bytes = lines.map { "\($0)\r\n" }.joined().utf8[...]
        while !bytes.isEmpty {
            try client.write(bytes.prefix(piece))
            bytes = bytes.dropFirst(piece)
        }
    }

    private static func parse(_ line: Data) -> Command? {
        struct Shape: Decodable { let execute: String, id: UInt64 }
        guard let shape = try? JSONDecoder().decode(Shape.self, from: line) else { return nil }
        return Command(name: shape.execute, line: String(decoding: line, as: UTF8.self), id: shape.id)
    }
}
