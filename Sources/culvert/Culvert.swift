import ArgumentParser

@main
struct Culvert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert",
        abstract: "Carries live-migration streams between hypervisors inside one TLS port.",
        subcommands: []
    )
}
