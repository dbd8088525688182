import COpenSSL

extension Certificate {
    /// The certificate as a PEM block.
    public func pem() throws(TLSError) -> [UInt8] {
        try written { PEM_write_bio_X509($0, x509) }
    }
}

extension PrivateKey {
    /// The key as an unencrypted PKCS #8 PEM block.
    public func pem() throws(TLSError) -> [UInt8] {
        try written { PEM_write_bio_PKCS8PrivateKey($0, pkey, nil, nil, 0, nil, nil) }
    }
}

private func written(_ write: (OpaquePointer) -> Int32) throws(TLSError) -> [UInt8] {
    ErrorQueue.clear()
    guard let bio = BIO_new(BIO_s_mem()) else { throw TLSError(.credentials, "out of memory") }
    defer { BIO_free(bio) }
    guard write(bio) == 1 else {
        throw TLSError(.credentials, "OpenSSL cannot write PEM: \(ErrorQueue.takeText())")
    }
    return contents(of: bio)
}
