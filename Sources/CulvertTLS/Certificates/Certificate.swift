import COpenSSL

/// An X.509 certificate.
public final class Certificate: Sendable {
    /// Owned. Nothing writes to it after `init`.
    nonisolated(unsafe) let x509: OpaquePointer

    /// Takes over `x509`.
    init(owning x509: OpaquePointer) { self.x509 = x509 }

    /// Keeps a reference to `x509`, which belongs to somebody else.
    convenience init(borrowing x509: OpaquePointer) {
        X509_up_ref(x509)
        self.init(owning: x509)
    }

    deinit { X509_free(x509) }

    /// As in `CN=hosta`, most specific part first.
    public var subject: String { Self.text(X509_get_subject_name(x509)) }
    public var issuer: String { Self.text(X509_get_issuer_name(x509)) }

    /// Seconds since 1970.
    public var notBefore: Double { seconds(X509_get0_notBefore(x509)) ?? .infinity }
    /// Seconds since 1970.
    public var notAfter: Double { seconds(X509_get0_notAfter(x509)) ?? -.infinity }

    /// DNS subject alternative names, lower case.
    public var dnsNames: [String] { alternativeNames.dns }

    /// Whether the issuer's name is the subject of `other`, whatever the keys.
    func namesIssuer(_ other: Certificate) -> Bool {
        X509_NAME_cmp(X509_get_issuer_name(x509), X509_get_subject_name(other.x509)) == 0
    }

    private static func text(_ name: OpaquePointer?) -> String {
        guard let bio = BIO_new(BIO_s_mem()) else { return "" }
        defer { BIO_free(bio) }
        // RFC 2253, but UTF-8 as it is.
        X509_NAME_print_ex(bio, name, 0, COpenSSL_XN_FLAG_RFC2253() & ~UInt(ASN1_STRFLGS_ESC_MSB))
        return String(decoding: contents(of: bio), as: UTF8.self)
    }
}

/// A copy of what was written to a memory BIO.
func contents(of bio: OpaquePointer) -> [UInt8] {
    var start: UnsafeMutablePointer<CChar>?
    let count = COpenSSL_BIO_get_mem_data(bio, &start)
    return [UInt8](UnsafeRawBufferPointer(start: start, count: max(0, count)))
}

extension PeerIdentity {
    /// `files`: ours, which say what counts as a name.
    init(_ certificate: Certificate, judgedBy files: TLSFiles) {
        self.init(subject: certificate.subject, names: certificate.names(in: files), notAfter: certificate.notAfter)
    }
}
