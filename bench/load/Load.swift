import ArgumentParser
import BenchSockets

@main
struct Load: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert-load",
        abstract: "Sends bytes into streams, or receives them, and says how fast it went.",
        discussion: """
            Both ends know the bytes beforehand, so making and checking them costs next to nothing while the clock runs. \
            Each report is one line of JSON. 'started' and 'finished' are seconds of the machine's monotonic clock: on \
            one machine, a receiver's 'finished' less its sender's 'started' is the time that delivery took.
            """,
        subcommands: [Send.self, Receive.self, FanOut.self, FanIn.self, Ask.self, Echo.self])
}

/// What a sender sends, and a receiver that verifies expects.
struct DataOption: ParsableArguments {
    @Option(
        help: "random: bytes that no compressor shrinks; zero; text: words; or a file, sent over and over.")
    var data = "random"

    var pattern: Pattern {
        get throws { try Pattern.Content(rawValue: data).map(Pattern.init) ?? Pattern(file: data) }
    }
}
