import CulvertTestSupport
import Foundation
import Testing

/// What `culvert migrate qemu` says to those who call it wrong: one line with the fault, and exit status 2.
struct MigrateUsageTests {
    @Test(arguments: [
        (["--destination", "b/q"], "Missing expected argument '--source <unix:qmp>'"),
        (["--source", "tcp:1:2", "--destination", "b/q"], "--source 'tcp:1:2' is not a UNIX socket, as in unix:/run/web1.qmp."),
        (["--source", "unix:x", "--destination", "b/q"], "a UNIX socket needs an absolute path"),
        (["--source", "unix:/x", "--destination", "b"], "--destination 'b' is not PEER/SERVICE."),
        (["--source", "unix:/x", "--destination", "b/q", "--multifd", "0"], "Multifd takes 1 to 255 channels, not 0."),
        (["--source", "unix:/x", "--destination", "b/q", "--multifd", "4", "--postcopy"], "exclude each other"),
        (["--source", "unix:/x", "--destination", "b/q", "--multifd", "4", "--exec"], "it cannot go through exec"),
        (["--source", "unix:/x", "--destination", "b/q", "--postcopy-after", "2"], "go with --postcopy."),
        (["--source", "unix:/x", "--destination", "b/q", "--bandwidth", "100MiB"], "is not a rate, as in 100MiB/s"),
        (["--source", "unix:/x", "--destination", "b/q", "--timeout", "10"], "'10' has no unit"),
        (["--source", "unix:/x", "--destination", "b/q", "--stream", "b/s"], "--stream and --incoming go together"),
        (["--source", "unix:/x", "--destination", "b/q", "--stream", "c/s", "--incoming", "tcp:h:1"], "is not b/SERVICE"),
        (["--source", "unix:/x", "--destination", "b/q", "--name", "a/b"], "The name 'a/b' may have letters"),
        (["--source", "unix:/x", "--destination", "b/q", "--json", "--quiet"], "exclude each other"),
    ])
    func refusesWrongUsage(arguments: [String], text: String) async throws {
        let directory = try TemporaryDirectory()
        let process = try ChildProcess(Host.culvert, ["migrate", "qemu"] + arguments, output: directory("output"))
        #expect(try await process.waitForExit() == .code(2))
        #expect(process.output.contains(text), "\(process.output)")
    }
}
