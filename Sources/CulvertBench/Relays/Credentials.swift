import CulvertTLS
import Foundation

/// What two relays that know only each other show each other, made for the moment.
public struct Credentials: Sendable {
    public static let near = "near", far = "far"

    /// So many that relays do not warn of the end.
    private static let days = 100
    private let directory: String

    /// Makes certificates and keys in `directory`.
    public init(in directory: String) throws {
        self.directory = directory
        let pki = PKIDirectory(directory)
        try pki.makeAuthority(CertificateTerms(name: "Culvert benchmark", days: Self.days))
        for host in [Self.near, Self.far] {
            var terms = CertificateTerms(name: host, days: Self.days)
            terms.dnsNames = [host]
            try pki.issue(terms)
        }
        let key = (0 ..< 4).map { _ in
            let digits = String(UInt64.random(in: .min ... .max), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
        for (host, peer) in [(Self.near, Self.far), (Self.far, Self.near)] {
            let made = FileManager.default.createFile(
                atPath: keys(of: host), contents: Data("\(peer):\(key)\n".utf8), attributes: [.posixPermissions: 0o600])
            guard made else { throw BenchError("cannot write \(keys(of: host))") }
        }
    }

    /// What leads `host` to `cipher`: a certificate to AES-256, as both libraries like it best; a pre-shared key to
    /// AES-128, as it is bound to SHA-256.
    public func source(of host: String, for cipher: Cipher) -> CredentialSource {
        switch cipher {
        case .aes256: .files(PKIDirectory(directory).files(of: host))
        case .aes128: .keys(file: keys(of: host), user: host)
        }
    }

    /// The same for a relay's configuration.
    func configuration(of host: String, for setup: BenchPlan.Setup) -> String {
        let kind =
            switch source(of: host, for: setup.cipher) {
            case .files(let files): "ca: \"\(files.ca)\", certificate: \"\(files.certificate)\", key: \"\(files.key)\""
            case .keys(let file, _): "psk: \"\(file)\""
            case .directory(let path): "directory: \"\(path)\""
            }
        return "{ backend: \(setup.backend.rawValue), records: \(setup.records.rawValue), \(kind) }"
    }

    private func keys(of host: String) -> String { "\(directory)/\(host).psk" }
}
