import ArgumentParser

struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Move a running guest to a peer's host.",
        subcommands: [MigrateQEMUCommand.self])
}
