/// What `TLSFiles` names, read and parsed.
struct Credentials {
    var files: TLSFiles
    var authorities: [Certificate]
    /// Our own certificate first, then the intermediates that lead to the CA.
    var chain: [Certificate]
    var key: PrivateKey
    /// Things that do not keep a relay from running but should be seen to.
    var warnings: [String] = []

    var certificate: Certificate { chain[0] }

    init(files: TLSFiles) throws(TLSError) {
        self.files = files
        authorities = try CredentialFile(.ca, files.ca).certificates()
        chain = try CredentialFile(.certificate, files.certificate).certificates()
        let keyFile = try CredentialFile(.key, files.key)
        key = try keyFile.privateKey()
        guard key.belongs(to: chain[0]) else {
            throw TLSError(
                .credentials,
                "key \(files.key) does not match certificate \(files.certificate) (\(chain[0].subject)); "
                    + "give the pair that was issued together")
        }
        if keyFile.isReadableByOthers {
            warnings.append(
                "key \(files.key): others than its owner may read it (mode \(octal(keyFile.mode & 0o777))); chmod 600 it")
        }
    }
}

private func octal(_ mode: UInt32) -> String {
    let digits = String(mode, radix: 8)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
