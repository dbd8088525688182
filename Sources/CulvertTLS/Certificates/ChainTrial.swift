import COpenSSL

extension VerificationFailure {
    /// What a client and what a server would object to in `chain`, each thing once; empty if both accept it.
    static func all(in chain: [Certificate], authorities: [Certificate]) -> [VerificationFailure] {
        let found = ["ssl_server", "ssl_client"].flatMap { all(in: chain, authorities: authorities, purpose: $0) }
        return found.enumerated().filter { index, failure in
            !found[..<index].contains { $0.kind == failure.kind && $0.depth == failure.depth }
        }.map(\.element)
    }

    private static func all(
        in chain: [Certificate], authorities: [Certificate], purpose: String
    ) -> [VerificationFailure] {
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
        let ready = X509_STORE_CTX_init(trial, store, chain[0].x509, untrusted) == 1
            && X509_STORE_CTX_set_default(trial, purpose) == 1
        precondition(ready, "OpenSSL cannot verify for \(purpose)")

        var failures: [VerificationFailure] = []
        withUnsafeMutablePointer(to: &failures) { failures in
            X509_STORE_CTX_set_ex_data(trial, 0, failures)
            X509_STORE_CTX_set_verify_cb(trial) { accepted, trial in
                if accepted == 0, let trial, let list = X509_STORE_CTX_get_ex_data(trial, 0) {
                    list.assumingMemoryBound(to: [VerificationFailure].self).pointee.append(VerificationFailure(trial))
                }
                // Go on, to hear of everything.
                return 1
            }
            X509_verify_cert(trial)
        }
        ErrorQueue.clear()
        return failures
    }
}
