import ArgumentParser
import CulvertTLS
import Foundation

struct CertsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs",
        abstract: "Make a CA and host certificates; show and verify them.",
        subcommands: [Init.self, Issue.self, Show.self, Verify.self])

    struct DirectoryOption: ParsableArguments {
        static let standard = "/etc/culvert/pki"

        @Option(help: ArgumentHelp("Where the CA and its certificates lie.", valueName: "directory"))
        var dir = standard

        var pki: PKIDirectory { PKIDirectory(dir) }
    }

    /// Lets a bad name or number count as wrong usage.
    private static func check(_ terms: CertificateTerms, days: Int) throws {
        guard (1 ... 36_500).contains(days) else { throw ValidationError("--days takes 1 to 36500, not \(days)") }
        do throws(TLSError) { try terms.check() } catch { throw ValidationError(error.description) }
    }
}

extension CertsCommand {
    struct Init: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a CA: ca.pem and ca.key.")

        @OptionGroup var directory: DirectoryOption

        @Option(help: "The CA's common name.")
        var name = "Culvert CA"

        @Option(help: "How long it is valid.")
        var days = 3650

        private var terms: CertificateTerms { CertificateTerms(name: name, days: days) }

        func validate() throws { try check(terms, days: days) }

        func run() throws {
            let authority = try directory.pki.makeAuthority(terms)
            let files = directory.pki.files(of: "ca")
            print("""
                \(name), valid until \(describeTime(authority.certificate.notAfter))
                  certificate  \(files.certificate)  (every relay needs a copy)
                  key          \(files.key)  (keep it here; no relay needs it)
                """)
        }
    }

    struct Issue: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Issue a certificate to a host: NAME.pem and NAME.key.")

        @Argument(help: "The host's name, by which its peers know it.")
        var name: String

        @OptionGroup var directory: DirectoryOption

        @Option(help: ArgumentHelp("Another DNS name of the host.", valueName: "name"))
        var dns: [String] = []

        @Option(help: ArgumentHelp("An IP address of the host.", valueName: "address"))
        var ip: [String] = []

        @Option(help: "How long it is valid, but no longer than the CA.")
        var days = 825

        @Option(help: ArgumentHelp("When it becomes valid, as in 2026-12-24 or 2026-12-24T18:00:00Z.", valueName: "time"))
        var from: UTCTime?

        @Flag(help: "Replace the certificate and key that the host has.")
        var force = false

        private var terms: CertificateTerms {
            var terms = CertificateTerms(name: name, days: days, from: from?.date.timeIntervalSince1970)
            terms.dnsNames = [name] + dns.filter { $0.lowercased() != name.lowercased() }
            terms.ipAddresses = ip
            return terms
        }

        func validate() throws { try check(terms, days: days) }

        func run() throws {
            let certificate = try directory.pki.issue(terms, replacing: force)
            let files = directory.pki.files(of: name)
            print("""
                \(name), valid until \(describeTime(certificate.notAfter))
                  names        \(certificate.names)
                  certificate  \(files.certificate)
                  key          \(files.key)
                The host needs both and \(files.ca).
                """)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show what certificates say.")

        @Argument(help: ArgumentHelp("PEM files.", valueName: "file"))
        var files: [String]

        @Flag(help: "Print JSON.")
        var json = false

        func run() throws {
            let shown = try files.flatMap { file in
                try Certificate.read(file).map { CertificateDescription(file: file, $0) }
            }
            if json {
                try printJSON(shown)
            } else {
                print(shown.map(\.text).joined(separator: "\n\n"))
            }
        }
    }
}

extension CertsCommand {
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check whether a relay can use a certificate, its key and a CA file.",
            discussion: """
                Give NAME for a host's files in the directory; or --ca, --certificate and --key; or --dir alone for a \
                directory as QEMU or libvirt lay it out, in which each role has its certificate.
                """)

        @Argument(help: "The host's name; its certificate must carry it.")
        var name: String?

        @OptionGroup var directory: DirectoryOption

        @Option(help: ArgumentHelp("The CA file.", valueName: "file"))
        var ca: String?

        @Option(help: ArgumentHelp("The certificate.", valueName: "file"))
        var certificate: String?

        @Option(help: ArgumentHelp("The certificate's key.", valueName: "file"))
        var key: String?

        @Option(help: ArgumentHelp("The DNS name that the certificate must carry.", valueName: "name"))
        var identity: String?

        @Flag(help: "Print the verdict as JSON on stdout.")
        var json = false

        func validate() throws {
            let paths = [ca, certificate, key].compactMap(\.self)
            let isLayout = paths.isEmpty && directory.dir != DirectoryOption.standard
            guard name == nil ? paths.count == 3 || isLayout : paths.isEmpty else {
                throw ValidationError("Give NAME, or else all of --ca, --certificate and --key, or else --dir alone.")
            }
        }

        /// What there is to look at, and what for; nil: both roles.
        private func subjects() throws(TLSError) -> [(files: TLSFiles, role: TLSRole?)] {
            if let name { return [(directory.pki.files(of: name), nil)] }
            if let ca, let certificate, let key { return [(TLSFiles(ca: ca, certificate: certificate, key: key), nil)] }
            let layout = try CredentialDirectory(directory.dir)
            return [(layout.accepting, .server), (layout.dialling, .client)]
        }

        func run() throws {
            let reports = try subjects().map { files, role in
                (files: files, report: CredentialReport(files: files, identity: identity ?? name, as: role))
            }
            for warning in reports.flatMap(\.report.warnings) { printError("\(warning) (warning)") }
            let problems = reports.flatMap(\.report.problems)
            if json {
                let verdicts = reports.map { Verdict($0.files, $0.report) }
                if verdicts.count == 1 { try printJSON(verdicts[0]) } else { try printJSON(verdicts) }
            } else if problems.isEmpty {
                for (files, report) in reports { print(Self.line(files, report)) }
            }
            if !problems.isEmpty { throw CommandFailure(Self.list(problems.map(\.text))) }
        }

        private static func line(_ files: TLSFiles, _ report: CredentialReport) -> String {
            guard let certificate = report.certificate else { return files.certificate }
            let names = certificate.names(in: files) + certificate.ipAddresses
            return "\(files.certificate): ok: \(certificate.subject) (\(names.joined(separator: ", "))), "
                + "valid until \(describeTime(certificate.notAfter)), \(certificate.timeLeft)"
        }

        /// One line, whatever the number of problems.
        private static func list(_ problems: [String]) -> String {
            guard problems.count > 1 else { return problems.joined() }
            return "\(problems.count) problems: "
                + problems.enumerated().map { "(\($0 + 1)) \($1)" }.joined(separator: "; ")
        }
    }
}

/// ISO 8601, with or without the time of day.
struct UTCTime: ExpressibleByArgument {
    let date: Date

    init?(argument: String) {
        let day = Date.ISO8601FormatStyle(timeZone: .gmt).year().month().day()
        guard let date = (try? Date(argument, strategy: .iso8601)) ?? (try? Date(argument, strategy: day)) else { return nil }
        self.date = date
    }
}
