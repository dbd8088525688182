import Foundation
import Testing

extension BlockingTests {
    /// `culvert certs` as an operator types it.
    @Suite(.timeLimit(.minutes(3))) struct CertsCommandTests {
        private let directory: TemporaryDirectory
        private var pki: String { directory("pki") }

        init() throws { directory = try TemporaryDirectory() }

        private func certs(_ arguments: String...) throws -> CommandLineTool.Output {
            let tool = try CommandLineTool(["certs"] + arguments)
            return try tool.output()
        }

        private func mode(_ file: String) throws -> Int? {
            try FileManager.default.attributesOfItem(atPath: "\(pki)/\(file)")[.posixPermissions] as? Int
        }

        @Test func aHostGetsItsCertificate() throws {
            let made = try certs("init", "--dir", pki, "--name", "Our CA", "--days", "100")
            #expect(made.status == 0 && made.stderr.isEmpty)
            #expect(made.text.hasPrefix("Our CA, valid until "))
            #expect(made.text.contains("\(pki)/ca.pem") && made.text.contains("\(pki)/ca.key"))

            let issued = try certs(
                "issue", "hosta", "--dir", pki, "--dns", "hosta.example.org", "--dns", "HOSTA", "--ip", "10.0.0.1",
                "--ip", "fd00::1")
            #expect(issued.status == 0 && issued.stderr.isEmpty)
            #expect(issued.text.contains("names        hosta, hosta.example.org, 10.0.0.1, fd00::1\n"))
            #expect(try ["ca.pem", "ca.key", "hosta.pem", "hosta.key"].map(mode) == [0o644, 0o600, 0o644, 0o600])

            let verified = try certs("verify", "hosta", "--dir", pki)
            #expect(verified.status == 0 && verified.stderr.isEmpty)
            #expect(verified.text.hasPrefix("\(pki)/hosta.pem: ok: CN=hosta (hosta, hosta.example.org, 10.0.0.1, fd00::1), "))
            #expect(verified.text.hasSuffix(" days left\n"))
        }

        @Test func nothingIsReplacedUnasked() throws {
            _ = try certs("init", "--dir", pki)
            _ = try certs("issue", "hosta", "--dir", pki)
            let before = FileManager.default.contents(atPath: "\(pki)/hosta.key")
            let twice = try certs("init", "--dir", pki)
            #expect(twice.status == 1 && twice.stdout.isEmpty)
            #expect(twice.stderr.hasPrefix("culvert: \(pki)/ca.pem exists; "))
            let again = try certs("issue", "hosta", "--dir", pki)
            #expect(again.status == 1 && again.stderr.contains("hosta.pem exists; --force replaces it"))
            #expect(FileManager.default.contents(atPath: "\(pki)/hosta.key") == before)
            #expect(try certs("issue", "hosta", "--dir", pki, "--force").status == 0)
            #expect(FileManager.default.contents(atPath: "\(pki)/hosta.key") != before)
        }

        @Test func aCertificateIsShown() throws {
            _ = try certs("init", "--dir", pki, "--name", "Our CA")
            _ = try certs("issue", "hosta", "--dir", pki, "--ip", "10.0.0.1", "--from", "2020-01-02", "--days", "30")
            let shown = try certs("show", "\(pki)/hosta.pem", "\(pki)/ca.pem")
            #expect(shown.status == 0)
            #expect(shown.text.hasPrefix("""
                \(pki)/hosta.pem
                  subject  CN=hosta
                  names    hosta, 10.0.0.1
                  issuer   CN=Our CA
                  valid    2020-01-02 00:00:00 UTC to 2020-02-01 00:00:00 UTC, expired
                  usage    serverAuth, clientAuth
                  key      EC P-256
                  sha256   
                """))
            #expect(shown.text.contains("\n\n\(pki)/ca.pem\n  subject  CN=Our CA\n"))

            let json = try certs("show", "\(pki)/hosta.pem", "--json")
            let object = try #require(JSONSerialization.jsonObject(with: json.stdout) as? [[String: Any]]).first
            #expect(object?["subject"] as? String == "CN=hosta")
            #expect(object?["dnsNames"] as? [String] == ["hosta"])
            #expect(object?["notBefore"] as? String == "2020-01-02T00:00:00Z")
            #expect((object?["daysLeft"] as? Int).map { $0 < -365 } == true)
            #expect(object?["authority"] as? Bool == false)
        }

        @Test func everyProblemIsOneLine() throws {
            _ = try certs("init", "--dir", pki)
            _ = try certs("issue", "old", "--dir", pki, "--from", "2020-01-02", "--days", "30")
            let soon = Date(timeIntervalSinceNow: 864_000).ISO8601Format()
            _ = try certs("issue", "early", "--dir", pki, "--from", soon, "--days", "30")
            _ = try certs("issue", "hosta", "--dir", pki)

            let old = try certs("verify", "old", "--dir", pki)
            #expect(old.status == 1 && old.stdout.isEmpty)
            #expect(old.stderr
                == "culvert: certificate \(pki)/old.pem (CN=old) expired on 2020-02-01 00:00:00 UTC; issue a new one\n")
            let early = try certs("verify", "early", "--dir", pki)
            #expect(early.status == 1 && early.stderr.contains("is not valid before \(soon.prefix(10)) "))

            let mixed = try certs(
                "verify", "--ca", "\(pki)/ca.pem", "--certificate", "\(pki)/old.pem", "--key", "\(pki)/hosta.key",
                "--identity", "hostb")
            #expect(mixed.status == 1 && mixed.stdout.isEmpty)
            #expect(mixed.stderr.hasPrefix("culvert: 3 problems: (1) key "))
            #expect(mixed.stderr.filter { $0 == "\n" }.count == 1)

            let absent = try certs("verify", "nobody", "--dir", pki)
            #expect(absent.status == 1 && absent.stderr.contains("certificate \(pki)/nobody.pem: No such file"))
        }

        @Test func theVerdictIsJSONForScripts() throws {
            _ = try certs("init", "--dir", pki)
            _ = try certs("issue", "hosta", "--dir", pki)
            let good = try certs("verify", "hosta", "--dir", pki, "--json")
            let accepted = try #require(JSONSerialization.jsonObject(with: good.stdout) as? [String: Any])
            #expect(good.status == 0 && accepted["ok"] as? Bool == true)

            let bad = try certs("verify", "hosta", "--dir", pki, "--identity", "hostb", "--json")
            let refused = try #require(JSONSerialization.jsonObject(with: bad.stdout) as? [String: Any])
            #expect(bad.status == 1 && bad.stderr.hasPrefix("culvert: ") && refused["ok"] as? Bool == false)
            #expect((refused["problems"] as? [[String: String]])?.map { $0["kind"] } == ["missing-name"])
        }

        @Test func aDirectoryOfQEMUIsVerified() throws {
            _ = try certs("init", "--dir", pki)
            _ = try certs("issue", "hosta", "--dir", pki)
            let laid = directory("qemu")
            try FileManager.default.createDirectory(atPath: laid, withIntermediateDirectories: false)
            for (from, to) in [
                ("ca.pem", "ca-cert.pem"), ("hosta.pem", "server-cert.pem"), ("hosta.key", "server-key.pem"),
                ("hosta.pem", "client-cert.pem"),
            ] { try FileManager.default.copyItem(atPath: "\(pki)/\(from)", toPath: "\(laid)/\(to)") }
            let absent = try certs("verify", "--dir", laid)
            #expect(absent.status == 1 && absent.stderr.contains("laid out for QEMU, but without \(laid)/client-key.pem"))

            try FileManager.default.copyItem(atPath: "\(pki)/hosta.key", toPath: "\(laid)/client-key.pem")
            let good = try certs("verify", "--dir", laid, "--identity", "hosta")
            #expect(good.status == 0 && good.stderr.isEmpty)
            #expect(good.text.split(separator: "\n").map { $0.prefix { $0 != "," } } == [
                "\(laid)/server-cert.pem: ok: CN=hosta (hosta)", "\(laid)/client-cert.pem: ok: CN=hosta (hosta)",
            ])
            let other = try certs("verify", "--dir", laid, "--identity", "hostb", "--json")
            let verdicts = try #require(JSONSerialization.jsonObject(with: other.stdout) as? [[String: Any]])
            #expect(other.status == 1 && verdicts.map { $0["ok"] as? Bool } == [false, false])
        }

        @Test(arguments: [
            ["issue"], ["issue", "a/b"], ["issue", "hosta", "--days", "0"], ["issue", "hosta", "--dns", "*.example.org"],
            ["issue", "hosta", "--ip", "10.0.0"], ["issue", "hosta", "--from", "soon"], ["init", "--days", "99999"],
            ["init", "--name", ""], ["show"], ["verify"], ["verify", "hosta", "--key", "k"],
            ["verify", "--ca", "a", "--certificate", "b"],
        ])
        func wrongUsageEndsWith2(arguments: [String]) throws {
            let output = try CommandLineTool(["certs"] + arguments).output()
            #expect(output.status == 2)
            #expect(output.stdout.isEmpty)
            #expect(output.stderr.contains("Usage: culvert certs"))
        }

        /// The recipe in certs/ makes what its README says.
        @Test func theTestPKIIsWhatItSays() throws {
            let recipe = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .appendingPathComponent("../../../certs/make-test-pki").standardizedFileURL
            let shell = Process()
            shell.executableURL = recipe
            shell.arguments = [pki, "hosta", "hostb"]
            shell.environment = ["PATH": "/usr/bin:/bin", "CULVERT": CommandLineTool.executable.path]
            try shell.run()
            shell.waitUntilExit()
            #expect(shell.terminationStatus == 0)
            for host in ["hosta", "hostb", "stranger"] { #expect(try certs("verify", host, "--dir", pki).status == 0) }
            #expect(try certs("verify", "expired", "--dir", pki).stderr.contains("expired on 2020-01-31"))
            #expect(try certs("verify", "early", "--dir", pki).stderr.contains("is not valid before"))
            #expect(try certs("verify", "hosta", "--dir", pki + "/elsewhere").status == 0)
            let foreign = try certs(
                "verify", "--ca", "\(pki)/ca.pem", "--certificate", "\(pki)/elsewhere/hosta.pem", "--key",
                "\(pki)/elsewhere/hosta.key")
            #expect(foreign.stderr.contains("another CA of the same name"))
        }
    }
}
