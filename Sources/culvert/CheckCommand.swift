import ArgumentParser
import CulvertDaemon

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Try a peer: can it be reached, how fast does it answer, what may be asked of it.",
        discussion: "Exits with 1 if it cannot be reached.")

    @OptionGroup var options: AdminOptions

    @Argument(help: "The peer's name in the configuration.")
    var peer: String

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let check = try PeerCheck(peer: peer, admin: options.client)
        if json { try printJSON(check) }
        if let failure = check.failure { throw CommandFailure(failure) }
        if !json { try Terminal.write(check.text) }
    }
}
