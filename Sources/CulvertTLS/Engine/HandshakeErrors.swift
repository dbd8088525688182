/// What both libraries' handshakes have to say in the same words.
extension TLSError {
    static let closedInHandshake = TLSError(
        .alert, "the peer closed the connection during the handshake; its log may say why")
    static let noTLS13 = TLSError(.handshake, "the peer does not offer TLS 1.3; culvert speaks nothing older")
    static let noCommonCipher = TLSError(.handshake, "the peer offers no cipher suite that this relay takes")
    static let noCertificate = TLSError(
        .peerIdentity, "the peer showed no certificate; a relay must have one of the same CA")
    static let certificateForKey = TLSError(
        .peerIdentity, "the peer shows a certificate instead of using the pre-shared key; set tls.psk on both hosts or on "
            + "neither")
}

extension VerificationFailure {
    func description(ofPeerOf own: CertificateCredentials) -> String {
        description(holder: "the peer's certificate", caFile: own.files.ca, authorities: own.authorities)
    }
}

extension PreSharedKeys {
    /// Throws unless there is a key to reach `peer` with.
    func check(_ peer: String?) throws(TLSError) {
        guard let peer else { preconditionFailure("a pre-shared key is chosen by the peer's name") }
        guard key(of: peer) != nil else { throw TLSError(.credentials, missing(peer)) }
    }
}
