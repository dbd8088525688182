import CulvertTLS
import Foundation

/// A certificate as `culvert certs show` prints it.
struct CertificateDescription: Encodable {
    let file: String
    let subject: String
    let dnsNames: [String]
    let ipAddresses: [String]
    let issuer: String
    /// ISO 8601.
    let notBefore: String
    let notAfter: String
    /// Whole days; negative once it has expired.
    let daysLeft: Int
    let authority: Bool
    /// Nil: any.
    let usages: [String]?
    let keyType: String
    let sha256: String
    private let names: String
    private let validity: String

    private enum CodingKeys: CodingKey {
        case file, subject, dnsNames, ipAddresses, issuer, notBefore, notAfter, daysLeft, authority, usages, keyType, sha256
    }

    init(file: String, _ certificate: Certificate) {
        self.file = file
        subject = certificate.subject
        dnsNames = certificate.dnsNames
        ipAddresses = certificate.ipAddresses
        issuer = certificate.issuer
        notBefore = Date(timeIntervalSince1970: certificate.notBefore).ISO8601Format()
        notAfter = Date(timeIntervalSince1970: certificate.notAfter).ISO8601Format()
        daysLeft = certificate.daysLeft
        authority = certificate.isAuthority
        usages = certificate.usages?.map(\.rawValue)
        keyType = certificate.keyType
        sha256 = certificate.fingerprint
        names = certificate.names
        validity = "\(describeTime(certificate.notBefore)) to \(describeTime(certificate.notAfter)), \(certificate.timeLeft)"
    }

    private var usage: String {
        if authority { return "CA" }
        guard let usages else { return "any" }
        return usages.isEmpty ? "neither serverAuth nor clientAuth" : usages.joined(separator: ", ")
    }

    var text: String {
        """
        \(file)
          subject  \(subject)
          names    \(names)
          issuer   \(issuer)
          valid    \(validity)
          usage    \(usage)
          key      \(keyType)
          sha256   \(sha256)
        """
    }
}

/// What `culvert certs verify --json` prints.
struct Verdict: Encodable {
    struct Problem: Encodable {
        let kind: String
        let text: String
    }

    let ok: Bool
    let ca: String
    let certificate: String
    let key: String
    let problems: [Problem]
    let warnings: [String]

    init(_ files: TLSFiles, _ report: CredentialReport) {
        ok = report.problems.isEmpty
        ca = files.ca
        certificate = files.certificate
        key = files.key
        problems = report.problems.map { Problem(kind: $0.kind.rawValue, text: $0.text) }
        warnings = report.warnings
    }
}

extension Certificate {
    /// Every DNS name and address, for people.
    var names: String {
        let all = dnsNames + ipAddresses
        return all.isEmpty ? "none" : all.joined(separator: ", ")
    }

    var daysLeft: Int { Int(((notAfter - Date().timeIntervalSince1970) / 86_400).rounded(.down)) }

    /// As in `824 days left`.
    var timeLeft: String {
        let now = Date().timeIntervalSince1970
        if notAfter < now { return "expired" }
        if now < notBefore { return "not yet valid" }
        return daysLeft == 1 ? "1 day left" : "\(daysLeft) days left"
    }
}
