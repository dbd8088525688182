import CulvertDaemon
import CulvertRelay
import Foundation
import Testing

extension BlockingTests {
    /// Single commands, without a relay at work.
    @Suite struct CommandTests {
        private let directory: TemporaryDirectory

        init() throws {
            directory = try TemporaryDirectory()
            let credentials = try TestCredentials(in: directory)
            try credentials.issue("hosta")
            try credentials.issue("hostb")
        }

        private func write(_ text: String) throws -> String {
            try Data(text.utf8).write(to: URL(fileURLWithPath: directory("c.yaml")))
            return directory("c.yaml")
        }

        private func good(_ more: String = "") -> String {
            """
            relay: { name: hosta, listen: ["127.0.0.1:0"], admin: \(directory("a.sock")) }
            tls: { ca: ca.pem, certificate: hosta.pem, key: hosta.key }
            peers: { hostb: }
            \(more)

            """
        }

        @Test func whatCannotBePrintedIsAnError() throws {
            let tool = try CommandLineTool(["check-config", "--config", try write(good()), "--json"], stdout: "/dev/full")
            let output = try tool.output()
            #expect(output.status == 1 && output.stderr == "culvert: write to stdout: No space left on device\n", "\(output)")
        }

        @Test func versionIsPrinted() throws {
            let output = try CommandLineTool.run("--version")
            #expect(output == .init(status: 0, stdout: Data("0.1.0\n".utf8), stderr: ""))
        }

        @Test(arguments: [
            ["frobnicate"], ["status", "--wacth"], ["connect"], ["connect", "hostb"], ["serve", "extra"],
            ["forward", "add", "unix:/x"], ["forward", "add", "/x", "b/c"], ["forward", "add", "unix:/x", "b"],
        ])
        func wrongUsageEndsWith2(arguments: [String]) throws {
            let tool = try CommandLineTool(arguments)
            let output = try tool.output()
            #expect(output.status == 2)
            #expect(output.stdout.isEmpty)
            #expect(output.stderr.contains("Usage: culvert"))
        }

        @Test(arguments: [
            ["status"], ["status", "--json", "--watch"], ["forward", "list"], ["forward", "remove", "f1"],
            ["forward", "add", "unix:/x", "b/c"], ["connect", "b/c"],
        ])
        func absentRelayIsExplainedInOneLine(arguments: [String]) throws {
            let output = try CommandLineTool(arguments + ["--admin", "/nonexistent/a.sock"]).output()
            #expect(output.status == 1)
            #expect(output.stdout.isEmpty)
            #expect(
                output.stderr == "culvert: no relay answers at /nonexistent/a.sock: No such file or directory; "
                    + "is `culvert serve` running? name its socket with --admin\n")
        }

        @Test func goodConfigurationIsSummed() throws {
            let file = try write(good("services: { web: { connect: \"tcp:127.0.0.1:1\", allow: [hostb] } }"))
            let output = try CommandLineTool.run("check-config", "--config", file)
            #expect(output.status == 0)
            #expect(output.text == "\(file): ok: relay hosta, 1 peer, 1 service, 0 forwards\n")
            #expect(output.stderr == "")
        }

        @Test func badConfigurationIsReportedWhole() throws {
            let file = try write("relay: { nam: x }\npeers: [a]\n")
            let output = try CommandLineTool.run("check-config", "--config", file)
            #expect(output.status == 1)
            #expect(output.stdout.isEmpty)
            #expect(
                output.stderr == """
                    \(file):1:10: relay.nam: unknown key; did you mean 'name'?
                    \(file):2:1: peers: here goes a map of keys and values, not a list

                    """)
        }

        @Test func resultIsThereAsJSON() throws {
            let file = try write("relay: { nam: x }\n")
            let output = try CommandLineTool.run("check-config", "--config", file, "--json")
            #expect(output.status == 1)
            #expect(output.stderr == "\(file):1:10: relay.nam: unknown key; did you mean 'name'?\n")
            let object = try JSONSerialization.jsonObject(with: output.stdout) as? [String: Any]
            #expect(object?["ok"] as? Bool == false)
            let errors = object?["errors"] as? [[String: Any]]
            #expect(errors?.count == 1)
            #expect(errors?.first?["line"] as? Int == 1)
            #expect(errors?.first?["key"] as? String == "relay.nam")
        }

        @Test func credentialsAreChecked() throws {
            let file = try write(good().replacing("key: hosta.key", with: "key: absent.key"))
            let absent = try CommandLineTool.run("check-config", "--config", file)
            #expect(absent.status == 1)
            #expect(
                absent.stderr
                    == "\(file):2:49: tls.key: cannot read \(directory("absent.key")): No such file or directory; "
                    + "make it with `culvert certs`, or correct the path\n")

            _ = try write(good().replacing("key: hosta.key", with: "key: hostb.key"))
            let mismatch = try CommandLineTool.run("check-config", "--config", file)
            #expect(mismatch.status == 1)
            #expect(
                mismatch.stderr.hasPrefix("\(file):2:1: tls: key \(directory("hostb.key")) does not match certificate"))
        }

        @Test(arguments: ["openssl", "gnutls"]) func directoriesAndKeysAreChecked(backend: String) throws {
            func check(_ tls: String) throws -> CommandLineTool.Output {
                let plain = "tls: { ca: ca.pem, certificate: hosta.pem, key: hosta.key }"
                let file = try write(good().replacing(plain, with: "tls: { backend: \(backend), \(tls) }"))
                return try CommandLineTool.run("check-config", "--config", file)
            }
            let file = directory("c.yaml")
            for (from, to) in [
                ("ca.pem", "ca-cert.pem"), ("hosta.pem", "server-cert.pem"), ("hosta.key", "server-key.pem"),
                ("hosta.pem", "client-cert.pem"), ("hosta.key", "client-key.pem"),
            ] { try FileManager.default.copyItem(atPath: directory(from), toPath: directory(to)) }
            #expect(try check("directory: .").status == 0)
            try FileManager.default.removeItem(atPath: directory("server-key.pem"))
            let absent = try check("directory: .")
            #expect(absent.status == 1)
            #expect(absent.stderr.hasPrefix("\(file):2:"))
            #expect(absent.stderr.contains(": tls.directory: directory "))
            #expect(absent.stderr.contains("server-key.pem (its key)"))

            try Data("hostc:\(String(repeating: "0a", count: 32))\n".utf8).write(
                to: URL(fileURLWithPath: directory("keys.psk")))
            chmod(directory("keys.psk"), 0o600)
            let keys = try check("psk: keys.psk")
            #expect(keys.status == 0)
            #expect(keys.stderr.hasPrefix("\(file):3:"))
            #expect(keys.stderr.contains("peers.hostb: cannot be connected: \(directory("keys.psk")) has no line for 'hostb'"))
            let none = try check("psk: nothing.psk")
            #expect(none.status == 1 && none.stderr.contains("make it with `psktool`"))
        }

        @Test func warningsDoNotFail() throws {
            chmod(directory("hosta.key"), 0o644)
            let file = try write(
                good("services: { web: { connect: \"unix:/nonexistent/x.sock\", allow: [hostb] } }"))
            let output = try CommandLineTool.run("check-config", "--config", file)
            #expect(output.status == 0)
            #expect(
                output.stderr.contains(
                    "\(file):2:1: tls: key \(directory("hosta.key")): its mode 0644 lets others than its owner use it")
            )
            #expect(
                output.stderr.contains(
                    "\(file):4:29: services.web.connect: the directory '/nonexistent' does not exist; "
                        + "the service cannot be reached until that is mended (warning)"))
        }

        @Test func aCertificateOfAnotherHostIsAWarning() throws {
            let file = try write(good().replacing("hosta.pem", with: "hostb.pem").replacing("hosta.key", with: "hostb.key"))
            let output = try CommandLineTool.run("check-config", "--config", file)
            #expect(output.status == 0)
            #expect(
                output.stderr.contains(
                    ": tls.certificate: it is for hostb, not for this relay's name 'hosta'; correct the one or the other, "
                        + "or have peers say 'identity: hostb' (warning)"), "\(output.stderr)")
        }

        // MARK: serve that cannot start

        @Test func serveRefusesABadFile() throws {
            let file = try write("relay: { nam: x }\n")
            let output = try CommandLineTool.run("serve", "--config", file)
            #expect(output.status == 1)
            #expect(output.stderr == "\(file):1:10: relay.nam: unknown key; did you mean 'name'?\n")
        }

        @Test func serveNamesAPortInUse() throws {
            let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
            defer { close(listener) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    #expect(
                        bind(listener, $0, length) == 0 && listen(listener, 1) == 0
                            && getsockname(listener, $0, &length) == 0)
                }
            }
            let port = UInt16(bigEndian: address.sin_port)
            let file = try write(good().replacing("127.0.0.1:0", with: "127.0.0.1:\(port)"))
            let output = try CommandLineTool.run("serve", "--config", file)
            #expect(output.status == 1)
            #expect(output.stderr.contains("127.0.0.1:\(port): Address already in use"))
            #expect(output.stderr.last == "\n" && output.stderr.split(separator: "\n").count == 1)
            #expect(!FileManager.default.fileExists(atPath: directory("a.sock")))
        }
    }
}
