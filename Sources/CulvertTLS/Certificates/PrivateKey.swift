import COpenSSL

/// A private key with its public half.
public final class PrivateKey: Sendable {
    /// Owned. Nothing writes to it after `init`.
    nonisolated(unsafe) let pkey: OpaquePointer

    /// Takes over `pkey`.
    init(owning pkey: OpaquePointer) { self.pkey = pkey }

    deinit { EVP_PKEY_free(pkey) }

    /// A new key on the curve P-256.
    static func make() throws(TLSError) -> PrivateKey {
        ErrorQueue.clear()
        guard let pkey = COpenSSL_EVP_EC_gen("P-256") else {
            throw TLSError(.credentials, "OpenSSL cannot make a key: \(ErrorQueue.takeText())")
        }
        return PrivateKey(owning: pkey)
    }

    /// Whether `certificate` is about this key.
    public func belongs(to certificate: Certificate) -> Bool {
        defer { ErrorQueue.clear() }
        return X509_check_private_key(certificate.x509, pkey) == 1
    }

    /// What signatures with this key digest with; nil for the kinds that bring their own.
    var signatureDigest: OpaquePointer? {
        switch EVP_PKEY_get_id(pkey) {
        case EVP_PKEY_ED25519, EVP_PKEY_ED448: nil
        default: EVP_sha256()
        }
    }
}
