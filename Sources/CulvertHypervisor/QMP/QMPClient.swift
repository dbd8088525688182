import Foundation
import Glibc
import Synchronization

/// A client of one QEMU's QMP monitor on a UNIX socket.
///
/// Commands may be given from any task; replies are matched by id, so events in between do no harm. Every wait has a
/// limit. When the connection ends, every waiting command fails with the reason, and so does every later one.
public final class QMPClient: Sendable {
    /// What QEMU says unasked.
    public enum News: Sendable {
        case event(QMPEvent)
        /// The connection ended; nothing follows.
        case closed(QMPError)
    }

    private typealias Waiter = CheckedContinuation<Result<Data, QMPError>, Never>

    private struct State {
        var waiting: [UInt64: Waiter] = [:]
        var lastID = greetingID
        var closed: QMPError?
        var socket: LineSocket?
        var version: QEMUVersion?
    }

    private static let greetingID: UInt64 = 0

    /// How errors name this QEMU, for example `source QEMU (unix:/run/web1.qmp)`.
    public let name: String
    private let state = Mutex(State())
    private let news: @Sendable (News) -> Void

    private init(name: String, news: @escaping @Sendable (News) -> Void) {
        self.name = name
        self.news = news
    }

    deinit { close() }

    /// Connects to the UNIX socket at `path`, takes the greeting and leaves capabilities negotiation.
    ///
    /// - Parameters:
    ///   - name: how errors name this QEMU; default: the path.
    ///   - limit: for all of it. QEMU serves one QMP client at a time and greets the next only when that one has left.
    ///   - news: called for each event and at the end, on a thread of the client's; must not block.
    public static func connect(
        to path: String, name: String? = nil, within limit: Duration = .seconds(10),
        news: @escaping @Sendable (News) -> Void = { _ in }
    ) async throws(QMPError) -> QMPClient {
        let client = QMPClient(name: name ?? "QEMU (unix:\(path))", news: news)
        let greeting = await client.reply(to: greetingID, within: limit, timeoutText: client.noGreeting) {
            let socket = LineSocket(path: path, patience: limit) { [weak client] in client?.take($0, path: path) }
            client.state.withLock { $0.socket = socket }
            return nil
        }
        do throws(QMPError) {
            _ = try greeting.get()
            try await client.execute("qmp_capabilities", within: limit)
        } catch {
            client.close()
            throw error
        }
        return client
    }

    /// From the greeting.
    public var version: QEMUVersion {
        guard let version = state.withLock({ $0.version }) else { preconditionFailure("a client is handed out greeted") }
        return version
    }

    /// Why the connection has ended; nil while it is up.
    public var closed: QMPError? { state.withLock { $0.closed } }

    /// Gives a command and returns the content of its reply.
    ///
    /// Cancelling the task ends the wait, not the command.
    public func execute<Reply: Decodable & Sendable>(
        _ command: String, _ arguments: some Encodable & Sendable = QMPNothing(), as type: Reply.Type,
        within limit: Duration = .seconds(10)
    ) async throws(QMPError) -> Reply {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        let timeoutText = "\(name) has not answered '\(command)' within \(HumanText.time(limit))"
        let answer = await reply(to: id, within: limit, timeoutText: timeoutText) {
            self.send(QMPCommand(execute: command, arguments: arguments, id: id))
        }
        let message = try answer.get()
        do {
            return try JSONDecoder().decode(QMPReply<Reply>.self, from: message).content
        } catch {
            throw QMPError(.malformed, "\(name) answered '\(command)' with something unexpected: \(Self.excerpt(message))")
        }
    }

    /// Gives a command whose reply says only that it is done.
    public func execute(
        _ command: String, _ arguments: some Encodable & Sendable = QMPNothing(), within limit: Duration = .seconds(10)
    ) async throws(QMPError) {
        _ = try await execute(command, arguments, as: QMPNothing.self, within: limit)
    }

    /// Ends the connection. Idempotent.
    public func close() {
        end(QMPError(.closed, "the connection to \(name) was closed here"), tell: false)
    }

    private var noGreeting: String {
        "\(name) sends no QMP greeting; QEMU serves one QMP client at a time, so another one is probably connected"
    }

    // MARK: Waiting for replies

    /// Registers as waiting for `id`, calls `start`, which may fail at once, and waits.
    private func reply(
        to id: UInt64, within limit: Duration, timeoutText: String, start: @Sendable () -> QMPError?
    ) async -> Result<Data, QMPError> {
        let timer = Task { [weak self] in
            try await Task.sleep(for: limit)
            self?.answer(id, .failure(QMPError(.timedOut, timeoutText)))
        }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let closed = state.withLock { state in
                    if state.closed == nil { state.waiting[id] = waiter }
                    return state.closed
                }
                if let closed { return waiter.resume(returning: .failure(closed)) }
                if Task.isCancelled {
                    answer(id, .failure(cancellation))
                } else if let error = start() {
                    answer(id, .failure(error))
                }
            }
        } onCancel: {
            answer(id, .failure(cancellation))
        }
    }

    private var cancellation: QMPError { QMPError(.cancelled, "the wait for \(name) was cancelled") }

    private func answer(_ id: UInt64, _ result: Result<Data, QMPError>) {
        state.withLock { $0.waiting.removeValue(forKey: id) }?.resume(returning: result)
    }

    private func send(_ command: QMPCommand<some Encodable>) -> QMPError? {
        guard let socket = state.withLock({ $0.socket }) else { return closed }
        guard var line = try? JSONEncoder().encode(command) else {
            preconditionFailure("arguments of '\(command.execute)' are not JSON")
        }
        line.append(UInt8(ascii: "\n"))
        return socket.write(line).map(ended)
    }

    // MARK: What comes

    private func take(_ input: LineSocket.Input, path: String) {
        switch input {
        case .line(let message):
            dispatch(message)
        case .lineTooLong:
            end(QMPError(.malformed, "\(name) sent a line of more than \(LineSocket.longestLine >> 20) MiB"))
        case .end(let code?, whileConnecting: true):
            let absent = code == ENOENT || code == ECONNREFUSED
            let hint = absent ? ", so no QEMU serves -qmp unix:\(path),server=on,wait=off" : ""
            end(QMPError(.unreachable, "cannot connect to \(name): \(String(cString: strerror(code)))\(hint)"))
        case .end(let code, _):
            end(ended(code))
        }
    }

    /// Whether a process that is killed resets its connections or ends them is up to the moment, and tells nothing.
    private func ended(_ code: Int32?) -> QMPError {
        let reason: String
        switch code {
        case nil, ECONNRESET, EPIPE, ENOTCONN: reason = ""
        case let code?: reason = ": \(String(cString: strerror(code)))"
        }
        return QMPError(.closed, "\(name) closed its QMP connection\(reason)")
    }

    private func dispatch(_ message: Data) {
        guard let header = try? JSONDecoder().decode(QMPHeader.self, from: message) else {
            end(QMPError(.malformed, "\(name) sent something that is not QMP: \(Self.excerpt(message))"))
            return
        }
        if let event = header.event {
            news(.event(QMPEvent(name: event, message: message)))
        } else if let greeting = header.QMP {
            state.withLock { $0.version = greeting.version.qemu }
            answer(Self.greetingID, .success(message))
        } else if let error = header.error {
            // An error without an id answers a line that QEMU could not parse; commands are ours, so it fits none.
            if let id = header.id { answer(id, .failure(QMPError(.refused(class: error.class), error.desc))) }
        } else if let id = header.id {
            answer(id, .success(message))
        }
    }

    /// The one way a connection ends.
    private func end(_ reason: QMPError, tell: Bool = true) {
        let (waiting, socket, first) = state.withLock { state in
            let first = state.closed == nil
            if first { state.closed = reason }
            defer {
                state.waiting = [:]
                state.socket = nil
            }
            return (state.waiting.values, state.socket, first)
        }
        socket?.shutdown()
        for waiter in waiting { waiter.resume(returning: .failure(reason)) }
        if first, tell { news(.closed(reason)) }
    }

    private static func excerpt(_ message: Data) -> String {
        let text = String(decoding: message.prefix(120), as: UTF8.self)
        return message.count > 120 ? text + "…" : text
    }
}
