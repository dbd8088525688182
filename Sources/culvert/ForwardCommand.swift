import ArgumentParser
import CulvertDaemon
import CulvertIO
import CulvertRelay
import Foundation

struct ForwardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forward",
        abstract: "Open, close and list forwards of a running relay.",
        subcommands: [Add.self, Remove.self, List.self])

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Open a forward; prints its id and address.")

        @OptionGroup var options: AdminOptions

        @Argument(help: "Where to listen: unix:/PATH or tcp:HOST:PORT.")
        var listen: String

        @Argument(help: ArgumentHelp("Where it leads: PEER/SERVICE or PEER/SERVICE/NAME.", valueName: "peer/service"))
        var to: String

        @Option(help: ArgumentHelp("Permissions of a UNIX socket, as in 0660.", valueName: "octal"))
        var mode: String?

        @Option(help: "auto or control.")
        var priority: StreamPriority?

        @Flag(help: "Print the forward as JSON.")
        var json = false

        func validate() throws {
            do throws(EndpointError) {
                _ = try Endpoint(listen)
            } catch {
                throw ValidationError(error.description)
            }
            try validateReference(to)
        }

        func run() throws {
            var request = ForwardRequest(to: to, listen: listen)
            request.mode = mode
            request.priority = priority?.rawValue
            let forward = try options.client.addForward(request)
            if json {
                try printJSON(forward)
            } else {
                print("\(forward.id) \(forward.listen) -> \(forward.to)")
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Close a forward; streams that came through it go on.")

        @OptionGroup var options: AdminOptions

        @Argument(help: ArgumentHelp("The forward's id or listen address.", valueName: "id|listen"))
        var forward: String

        func run() throws {
            let client = options.client
            guard let found = try client.forwards().first(where: { $0.id == forward || $0.listen == forward }) else {
                throw CommandFailure("there is no forward '\(forward)'; `culvert forward list` shows what there is")
            }
            try client.removeForward(id: found.id)
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List forwards.")

        @OptionGroup var options: AdminOptions

        @Flag(help: "Print JSON.")
        var json = false

        func run() throws {
            let forwards = try options.client.forwards()
            if json {
                try printJSON(forwards)
            } else {
                print(ForwardReport(forwards, colour: Terminal.hasColour).text, terminator: "")
            }
        }
    }
}

extension StreamPriority: ExpressibleByArgument {}

func validateReference(_ text: String) throws(ValidationError) {
    guard ServiceReference(text) != nil else {
        throw ValidationError("'\(text)' is not PEER/SERVICE or PEER/SERVICE/NAME")
    }
}

/// A command that could not do what it was asked; the text says what and what to do.
struct CommandFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
