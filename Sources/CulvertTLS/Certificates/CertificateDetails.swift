import COpenSSL

/// What `culvert certs show` tells beyond names and dates.
extension Certificate {
    /// IP subject alternative names.
    public var ipAddresses: [String] { alternativeNames.ip }

    /// SHA-256 of the whole certificate, upper-case hexadecimal with colons, as browsers and openssl(1) show it.
    public var fingerprint: String {
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        guard X509_digest(x509, EVP_sha256(), &digest, &count) == 1 else { return "" }
        return digest.prefix(Int(count)).map { hexadecimal($0).uppercased() }.joined(separator: ":")
    }

    /// As in `EC P-256` or `RSA 3072`.
    public var keyType: String {
        guard let key = X509_get0_pubkey(x509), let name = EVP_PKEY_get0_type_name(key) else { return "unknown" }
        let type = String(cString: name)
        switch EVP_PKEY_get_base_id(key) {
        case EVP_PKEY_EC: return "EC \(Self.curve(key) ?? "curve unknown")"
        case EVP_PKEY_RSA, EVP_PKEY_RSA_PSS: return "\(type) \(EVP_PKEY_get_bits(key))"
        default: return type
        }
    }

    /// Whether it may sign other certificates.
    public var isAuthority: Bool { X509_check_ca(x509) == 1 }

    /// Which of these extended usages it allows; nil if it does not restrict them.
    public var usages: [ExtendedUsage]? {
        let flags = X509_get_extended_key_usage(x509)
        // All ones is how OpenSSL says that the extension is absent.
        guard flags != .max else { return nil }
        return ExtendedUsage.allCases.filter { flags & $0.flag != 0 }
    }

    private static func curve(_ key: OpaquePointer) -> String? {
        var name = [CChar](repeating: 0, count: 64)
        guard EVP_PKEY_get_group_name(key, &name, name.count, nil) == 1 else { return nil }
        let text = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        // OpenSSL gives P-256 by its older name.
        return text == "prime256v1" ? "P-256" : text == "secp384r1" ? "P-384" : text
    }
}

extension ExtendedUsage {
    fileprivate var flag: UInt32 {
        switch self {
        case .serverAuth: UInt32(XKU_SSL_SERVER)
        case .clientAuth: UInt32(XKU_SSL_CLIENT)
        }
    }
}

/// Two digits.
func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
