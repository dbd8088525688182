import ArgumentParser

struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Move a guest to a peer's host.",
        subcommands: [MigrateLibvirtCommand.self, MigrateQEMUCommand.self])
}
