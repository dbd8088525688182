import COpenSSL

/// Which of its certificates a CA has revoked.
final class RevocationList: Sendable {
    /// Owned. Nothing writes to it after `init`.
    nonisolated(unsafe) let crl: OpaquePointer

    /// Takes over `crl`.
    init(owning crl: OpaquePointer) { self.crl = crl }

    deinit { X509_CRL_free(crl) }

    /// Has `store` check certificates against the list.
    func use(in store: OpaquePointer?) -> Bool {
        X509_STORE_add_crl(store, crl) == 1 && X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK)) == 1
    }

    /// An authority that publishes no list revokes nothing: only one list can be configured, and there may be several
    /// authorities.
    static func isMissing(_ trial: OpaquePointer) -> Bool {
        X509_STORE_CTX_get_error(trial) == X509_V_ERR_UNABLE_TO_GET_CRL
    }
}
