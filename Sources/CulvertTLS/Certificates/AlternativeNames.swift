import COpenSSL
import Glibc

extension Certificate {
    /// Subject alternative names of the kinds that name hosts.
    struct AlternativeNames {
        /// Lower case.
        var dns: [String] = []
        var ip: [String] = []
    }

    /// A name that is not plain printable ASCII is left out: nothing may match it.
    var alternativeNames: AlternativeNames {
        var result = AlternativeNames()
        guard let raw = X509_get_ext_d2i(x509, NID_subject_alt_name, nil, nil) else { return result }
        let names = OpaquePointer(raw)
        defer { GENERAL_NAMES_free(names) }
        for index in 0 ..< COpenSSL_sk_GENERAL_NAME_num(names) {
            guard let name = COpenSSL_sk_GENERAL_NAME_value(names, index) else { continue }
            var kind: Int32 = 0
            guard let value = GENERAL_NAME_get0_value(name, &kind) else { continue }
            switch kind {
            case GEN_DNS:
                if let text = Self.asciiHostName(Self.bytes(value)) { result.dns.append(text) }
            case GEN_IPADD:
                if let text = Self.address(Self.bytes(value)) { result.ip.append(text) }
            default:
                continue
            }
        }
        return result
    }

    /// The names by which credentials like `files` know the certificate, lower case.
    public func names(in files: TLSFiles) -> [String] {
        let names = dnsNames
        guard names.isEmpty, files.allowsCommonNames, X509_get_ext_by_NID(x509, NID_subject_alt_name, -1) < 0 else {
            return names
        }
        return commonName.map { [$0] } ?? []
    }

    /// Lower case; nil unless there is just one and it could be a host's name.
    private var commonName: String? {
        let subject = X509_get_subject_name(x509)
        let index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
        guard index >= 0, X509_NAME_get_index_by_NID(subject, NID_commonName, index) < 0,
            let value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index))
        else { return nil }
        let bytes = UnsafeBufferPointer(start: ASN1_STRING_get0_data(value), count: Int(ASN1_STRING_length(value)))
        let text = String(decoding: bytes, as: UTF8.self)
        return CertificateTerms.isHostName(text) ? text.lowercased() : nil
    }

    private static func bytes(_ value: UnsafeMutableRawPointer) -> UnsafeRawBufferPointer {
        let string = value.assumingMemoryBound(to: ASN1_STRING.self)
        return UnsafeRawBufferPointer(start: ASN1_STRING_get0_data(string), count: Int(ASN1_STRING_length(string)))
    }

    private static func asciiHostName(_ bytes: UnsafeRawBufferPointer) -> String? {
        guard !bytes.isEmpty, bytes.allSatisfy({ (0x21 ... 0x7E).contains($0) }) else { return nil }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }

    private static func address(_ bytes: UnsafeRawBufferPointer) -> String? {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
            inet_ntop(family, bytes.baseAddress, text.baseAddress, socklen_t(text.count)).map { String(cString: $0) }
        }
    }
}
