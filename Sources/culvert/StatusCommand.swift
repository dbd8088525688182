import ArgumentParser
import CulvertDaemon
import Foundation

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show a running relay's sessions, lanes, streams, rates and windows.")

    @OptionGroup var options: AdminOptions

    @Flag(help: "Print JSON; with --watch one object a line.")
    var json = false

    @Flag(help: "Print again every second until interrupted.")
    var watch = false

    /// What was there before stays in the terminal's history.
    private static let clearScreen = "\u{1B}[H\u{1B}[2J"

    func run() throws {
        try show()
        while watch {
            Thread.sleep(forTimeInterval: 1)
            try show()
        }
    }

    private func show() throws {
        let status = try options.client.status()
        if json {
            try printJSON(status, pretty: !watch)
        } else {
            let text = StatusReport(status, colour: Terminal.hasColour).text
            let before = watch && Terminal.isInteractive ? Self.clearScreen : ""
            let after = watch && !Terminal.isInteractive ? "\n" : ""
            FileHandle.standardOutput.write(Data((before + text + after).utf8))
        }
    }
}
