import ArgumentParser
import CulvertDaemon

struct ConnectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connect",
        abstract: "Join stdin and stdout to a peer's service.",
        discussion: """
            For QEMU's exec: URIs, xl migrate -s and ssh's ProxyCommand. stdout carries the service's bytes and nothing \
            else. Ends when both directions have ended, or at once when the far side has closed.
            """)

    @OptionGroup var options: AdminOptions

    @Argument(help: ArgumentHelp("PEER/SERVICE or PEER/SERVICE/NAME.", valueName: "peer/service"))
    var to: String

    func validate() throws { try validateReference(to) }

    func run() throws {
        try ServiceConnection(to: to, admin: options.client).run()
    }
}
