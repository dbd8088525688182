import COpenSSL
import Glibc

/// A certificate in the making. Every step throws with OpenSSL's reason.
struct CertificateBuilder {
    private let certificate: Certificate
    private var x509: OpaquePointer { certificate.x509 }

    /// Version 3 with a random serial number, the subject and validity of `terms`, about `key`.
    init(_ terms: CertificateTerms, key: PrivateKey) throws(TLSError) {
        ErrorQueue.clear()
        guard let x509 = X509_new() else { throw Self.failure() }
        certificate = Certificate(owning: x509)
        try Self.check(X509_set_version(x509, Int(X509_VERSION_3)) == 1)
        try setSerialNumber()
        let subject = X509_get_subject_name(x509)
        try Self.check(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, terms.name, -1, -1, 0) == 1)
        try Self.check(ASN1_TIME_set(X509_getm_notBefore(x509), time_t(terms.notBefore)) != nil)
        try Self.check(ASN1_TIME_set(X509_getm_notAfter(x509), time_t(terms.notAfter)) != nil)
        try Self.check(X509_set_pubkey(x509, key.pkey) == 1)
    }

    /// 159 random bits: positive, within 20 octets and impossible to guess (RFC 5280, 4.1.2.2).
    private func setSerialNumber() throws(TLSError) {
        guard let number = BN_new() else { throw Self.failure() }
        defer { BN_free(number) }
        try Self.check(BN_rand(number, 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1)
        try Self.check(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != nil)
    }

    /// Adds the extension `value`, in the words of x509v3_config(5). `issuer` nil: the certificate itself.
    func addExtension(_ kind: Int32, _ value: String, issuer: Certificate?) throws(TLSError) {
        var context = X509V3_CTX()
        COpenSSL_X509V3_set_ctx(&context, issuer?.x509 ?? x509, x509)
        guard let made = X509V3_EXT_conf_nid(nil, &context, kind, value) else { throw Self.failure() }
        defer { X509_EXTENSION_free(made) }
        try Self.check(X509_add_ext(x509, made, -1) == 1)
    }

    func addAlternativeNames(dns: [String], ip: [String]) throws(TLSError) {
        guard !dns.isEmpty || !ip.isEmpty else { return }
        guard let names = GENERAL_NAMES_new() else { throw Self.failure() }
        defer { GENERAL_NAMES_free(names) }
        for name in dns {
            let bytes = Array(name.lowercased().utf8)
            let value = ASN1_STRING_type_new(V_ASN1_IA5STRING)
            try Self.check(ASN1_STRING_set(value, bytes, Int32(bytes.count)) == 1)
            try Self.add(GEN_DNS, value, to: names)
        }
        for address in ip {
            guard let value = a2i_IPADDRESS(address) else {
                throw TLSError(.credentials, "'\(address)' is no IP address")
            }
            try Self.add(GEN_IPADD, value, to: names)
        }
        try Self.check(X509_add1_ext_i2d(x509, NID_subject_alt_name, UnsafeMutableRawPointer(names), 0, 0) == 1)
    }

    /// Takes over `value`.
    private static func add(
        _ kind: Int32, _ value: UnsafeMutablePointer<ASN1_STRING>?, to names: OpaquePointer
    ) throws(TLSError) {
        guard let name = GENERAL_NAME_new() else { throw failure() }
        GENERAL_NAME_set0_value(name, kind, value)
        try check(COpenSSL_sk_GENERAL_NAME_push(names, name) > 0)
    }

    /// `issuer` nil: self-signed, and `key` the certificate's own.
    func signed(by key: PrivateKey, issuer: Certificate?) throws(TLSError) -> Certificate {
        let name = X509_get_subject_name(issuer?.x509 ?? x509)
        try Self.check(X509_set_issuer_name(x509, name) == 1)
        try Self.check(X509_sign(x509, key.pkey, key.signatureDigest) > 0)
        return certificate
    }

    private static func check(_ done: Bool) throws(TLSError) { if !done { throw failure() } }

    private static func failure() -> TLSError {
        TLSError(.credentials, "OpenSSL cannot make the certificate: \(ErrorQueue.takeText())")
    }
}
