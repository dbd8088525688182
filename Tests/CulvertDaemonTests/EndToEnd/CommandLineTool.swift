import Foundation
import Synchronization
import Testing

/// The `culvert` executable of this build, run the way a shell does. Killed if the test lets go of it.
final class CommandLineTool: Sendable {
    struct Output: Sendable, Equatable {
        var status: Int32
        var stdout: Data
        var stderr: String

        var text: String { String(decoding: stdout, as: UTF8.self) }
    }

    /// Processes are started one at a time: a child inherits what another has just opened otherwise.
    private static let starting = Mutex(())
    private let process = Process()
    private let exited = DispatchSemaphore(value: 0)
    let stdin: Channel
    private let directory: TemporaryDirectory

    /// The test bundle and the executable are products of one build, side by side.
    static var executable: URL {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appendingPathComponent("culvert")
    }

    /// - Parameters:
    ///   - stdout: the file that gets what it says; one that `output` reads by default.
    ///   - descriptors: how many it may have open; nil leaves the limit as it is.
    init(_ arguments: [String], environment: [String: String] = [:], stdout: String? = nil, descriptors: Int? = nil) throws {
        // A command that ends early leaves its stdin without a reader.
        signal(SIGPIPE, SIG_IGN)
        directory = try TemporaryDirectory()
        if let descriptors {
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments =
                ["-c", "ulimit -n \(descriptors) && exec \"$0\" \"$@\"", Self.executable.path] + arguments
        } else {
            process.executableURL = Self.executable
            process.arguments = arguments
        }
        process.environment = ["PATH": "/usr/bin:/bin"].merging(environment) { $1 }
        let pipe = Pipe()
        stdin = Channel(adopting: dup(pipe.fileHandleForWriting.fileDescriptor))
        process.standardInput = pipe
        process.standardOutput = try stdout.map { try FileHandle(forWritingTo: URL(fileURLWithPath: $0)) } ?? Self.file(directory("stdout"))
        process.standardError = try Self.file(directory("stderr"))
        process.terminationHandler = { [exited] _ in exited.signal() }
        try Self.starting.withLock { _ in try process.run() }
        try? pipe.fileHandleForWriting.close()
    }

    private static func file(_ path: String) throws -> FileHandle {
        try Data().write(to: URL(fileURLWithPath: path))
        return try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    }

    deinit {
        if process.isRunning { kill(SIGKILL) }
    }

    var stdoutSoFar: Data { FileManager.default.contents(atPath: directory("stdout")) ?? Data() }
    var stderrSoFar: String {
        String(decoding: FileManager.default.contents(atPath: directory("stderr")) ?? Data(), as: UTF8.self)
    }
    var isRunning: Bool { process.isRunning }

    /// Descriptors that the process has open now.
    func openDescriptors() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process.processIdentifier)/fd").count
    }

    func kill(_ signal: Int32) {
        Foundation.kill(process.processIdentifier, signal)
    }

    /// Waits for the end.
    func output() throws -> Output {
        guard exited.wait(timeout: .now() + testLimit) == .success else {
            throw TimedOut(what: "culvert \(process.arguments ?? []); stderr: \(stderrSoFar)")
        }
        exited.signal()
        return Output(status: process.terminationStatus, stdout: stdoutSoFar, stderr: stderrSoFar)
    }

    /// Runs a command to its end.
    static func run(_ arguments: String..., input: Data = Data(), environment: [String: String] = [:]) throws -> Output
    {
        let tool = try CommandLineTool(arguments, environment: environment)
        try tool.stdin.send(input)
        tool.stdin.close()
        return try tool.output()
    }
}
