import Glibc

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

    /// Valid for `days` days.
    /// - Parameter start: seconds since 1970; nil: now, or rather an hour ago, so that a host whose clock is behind takes it.
    public init(name: String, days: Int, from start: Double? = nil) {
        self.name = name
        notBefore = start ?? now() - 3600
        notAfter = (start ?? now()) + Double(days) * 86_400
    }
}

/// Extended key usages (RFC 5280, 4.2.1.12). A relay is client and server, so it needs both.
public enum ExtendedUsage: String, Sendable, CaseIterable { case serverAuth, clientAuth }

extension CertificateTerms {
    /// Throws unless every name is one that a certificate can carry and a relay can match.
    public func check() throws(TLSError) {
        guard (1 ... 64).contains(name.utf8.count) else {
            throw TLSError(.credentials, "'\(name)': a certificate's name has 1 to 64 bytes")
        }
        guard notBefore < notAfter else {
            throw TLSError(.credentials, "'\(name)': a certificate cannot end before it begins; give it more days, or its CA")
        }
        for dns in dnsNames where !Self.isHostName(dns) {
            throw TLSError(
                .credentials, "'\(dns)' is no DNS name: letters, digits, - and _ in labels of 1 to 63 between single dots; "
                    + "no wildcards, for relays match names exactly")
        }
        for address in ipAddresses where !Self.isAddress(address) {
            throw TLSError(.credentials, "'\(address)' is no IP address; write 192.0.2.1 or 2001:db8::1")
        }
    }

    static func isAddress(_ text: String) -> Bool {
        var bytes = in6_addr()
        return inet_pton(AF_INET, text, &bytes) == 1 || inet_pton(AF_INET6, text, &bytes) == 1
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
