import ArgumentParser
import CulvertDaemon
import CulvertRelay
import Dispatch
import Foundation

struct Culvert: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert",
        abstract: "Carries live-migration streams between hypervisors inside one TLS port.",
        version: culvertVersion,
        subcommands: [
            ServeCommand.self, CheckConfigCommand.self, StatusCommand.self, CheckCommand.self, ForwardCommand.self,
            ConnectCommand.self, MigrateCommand.self, BenchCommand.self, CertsCommand.self,
        ]
    )
}

/// Runs synchronous commands on the main thread itself, which `serve` needs for its signals. ArgumentParser's own
/// asynchronous entry gives that thread away, and its exit status for wrong usage is another.
@main
enum Main {
    static func main() {
        do {
            var command = try Culvert.parseAsRoot()
            guard let asynchronous = command as? any AsyncParsableCommand else {
                try command.run()
                exit(0)
            }
            Task.detached {
                var command = asynchronous
                do {
                    try await command.run()
                    exit(0)
                } catch {
                    end(with: error)
                }
            }
            dispatchMain()
        } catch {
            end(with: error)
        }
    }

    /// Says what went wrong on stderr and ends with 1, or 2 for wrong usage. Help and version are no errors.
    static func end(with error: any Error) -> Never {
        let usage: Int32 = 2
        switch Culvert.exitCode(for: error) {
        case .validationFailure:
            printError(Culvert.fullMessage(for: error))
            exit(usage)
        case .success:
            Culvert.exit(withError: error)
        case let code where error is ExitCode:
            exit(code.rawValue)
        default:
            // These name file and line themselves.
            printError(error is ConfigurationError ? "\(error)" : "culvert: \(error)")
            exit(1)
        }
    }
}

func printError(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}

/// For commands that talk to a running relay.
struct AdminOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The relay's admin socket.", valueName: "path"))
    var admin = Configuration.defaultAdmin

    var client: AdminClient { AdminClient(path: admin) }
}

/// The file of this program.
var ownPath: String { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "culvert" }

/// What stdout can show.
enum Terminal {
    static var isInteractive: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Columns at this moment; 80 if the terminal does not say.
    static var width: Int {
        var size = winsize()
        return ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    /// What stdout does not take, as on a full disk.
    struct WriteError: Error, CustomStringConvertible {
        var errno: CInt
        var description: String { "write to stdout: \(String(cString: strerror(errno)))" }
    }

    /// Text for stdout as it is. A reader that has gone is no error of ours.
    static func write(_ text: String) throws(WriteError) {
        var left = Array(text.utf8)[...]
        while !left.isEmpty {
            let count = left.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count >= 0 {
                left.removeFirst(count)
            } else if errno == EPIPE {
                return
            } else if errno != EINTR {
                throw WriteError(errno: errno)
            }
        }
    }

    /// https://no-color.org
    static var hasColour: Bool {
        isInteractive && (ProcessInfo.processInfo.environment["NO_COLOR"] ?? "").isEmpty
    }
}

func printJSON(_ value: some Encodable, pretty: Bool = true) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    try Terminal.write(String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
}
