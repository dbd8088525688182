import COpenSSL

/// Judges chains of certificates as OpenSSL does in a handshake; for our own before there is any, and for a peer's where
/// another library shakes hands, so that either engine accepts just the same.
struct ChainTrial {
    var authorities: [Certificate]
    var revoked: RevocationList?
    /// What the certificate at the front has to be good for.
    var roles: [TLSRole]

    /// What there is to object to in `chain`, each thing once; empty if it is acceptable.
    func failures(of chain: [Certificate]) -> [VerificationFailure] {
        let found = roles.flatMap { failures(of: chain, as: $0) }
        return found.enumerated().filter { index, failure in
            !found[..<index].contains { $0.kind == failure.kind && $0.depth == failure.depth }
        }.map(\.element)
    }

    private func failures(of chain: [Certificate], as role: TLSRole) -> [VerificationFailure] {
        guard let store = X509_STORE_new(), let trial = X509_STORE_CTX_new(), let untrusted = OPENSSL_sk_new_null() else {
            fatalError("out of memory")
        }
        defer {
            X509_STORE_CTX_free(trial)
            X509_STORE_free(store)
            OPENSSL_sk_free(untrusted)
        }
        for authority in authorities { X509_STORE_add_cert(store, authority.x509) }
        for intermediate in chain.dropFirst() { OPENSSL_sk_push(untrusted, UnsafeRawPointer(intermediate.x509)) }
        let ready = (revoked?.use(in: store) ?? true)
            && X509_STORE_CTX_init(trial, store, chain[0].x509, untrusted) == 1
            && X509_STORE_CTX_set_default(trial, role == .server ? "ssl_server" : "ssl_client") == 1
        precondition(ready, "OpenSSL cannot verify")
        // As in a handshake.
        X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(trial), OpenSSLContext.securityLevel)

        var failures: [VerificationFailure] = []
        withUnsafeMutablePointer(to: &failures) { failures in
            X509_STORE_CTX_set_ex_data(trial, 0, failures)
            X509_STORE_CTX_set_verify_cb(trial) { accepted, trial in
                if accepted == 0, let trial, !RevocationList.isMissing(trial), let list = X509_STORE_CTX_get_ex_data(trial, 0) {
                    list.assumingMemoryBound(to: [VerificationFailure].self).pointee.append(VerificationFailure(trial))
                }
                // Go on, to hear of everything.
                return 1
            }
            // Failing without a callback is OpenSSL's own trouble, and no reason to accept anything.
            if X509_verify_cert(trial) <= 0, failures.pointee.isEmpty { failures.pointee.append(VerificationFailure(trial)) }
        }
        ErrorQueue.clear()
        return failures
    }
}
