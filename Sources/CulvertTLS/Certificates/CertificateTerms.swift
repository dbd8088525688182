/// What a new certificate says.
public struct CertificateTerms: Sendable, Equatable {
    /// The subject's common name, 1 to 64 bytes (RFC 5280, ub-common-name).
    public var name: String
    public var dnsNames: [String] = []
    /// IPv4 or IPv6, as `inet_pton` reads them.
    public var ipAddresses: [String] = []
    /// Seconds since 1970.
    public var notBefore: Double
    /// Seconds since 1970.
    public var notAfter: Double
    public var usages = ExtendedUsage.allCases

    /// Valid from an hour ago, so that a host whose clock is behind takes it, for `days` days from now.
    public init(name: String, days: Int) {
        self.name = name
        notBefore = now() - 3600
        notAfter = now() + Double(days) * 86_400
    }
}

/// Extended key usages (RFC 5280, 4.2.1.12). A relay is client and server, so it needs both.
public enum ExtendedUsage: String, Sendable, CaseIterable { case serverAuth, clientAuth }

extension CertificateTerms {
    /// Throws unless every name is one that a certificate can carry and a relay can match.
    func check() throws(TLSError) {
        guard (1 ... 64).contains(name.utf8.count) else {
            throw TLSError(.credentials, "'\(name)': a certificate's name has 1 to 64 bytes")
        }
        guard notBefore < notAfter else {
            throw TLSError(.credentials, "'\(name)': a certificate cannot end before it begins; give it more days")
        }
        for dns in dnsNames where !Self.isHostName(dns) {
            throw TLSError(
                .credentials, "'\(dns)' is no DNS name: letters, digits, - and _ in labels of 1 to 63 between single dots; "
                    + "no wildcards, for relays match names exactly")
        }
    }

    static func isHostName(_ text: String) -> Bool {
        guard (1 ... 253).contains(text.utf8.count) else { return false }
        return text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
            (1 ... 63).contains(label.count)
                && label.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a") ... UInt8(ascii: "z"), UInt8(ascii: "A") ... UInt8(ascii: "Z"),
                        UInt8(ascii: "0") ... UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                        true
                    default: false
                    }
                }
        }
    }
}
