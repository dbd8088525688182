import COpenSSL
import Glibc

/// One of the files that credentials come from. Every error names the file, the cause and the next step.
struct CredentialFile {
    enum Kind: String {
        case ca = "CA file", certificate = "certificate", key = "key", revoked = "revocation list"
        case preSharedKeys = "key file"
    }

    let kind: Kind
    let path: String
    let bytes: [UInt8]
    /// Permission bits and type, as `stat` gives them.
    let mode: mode_t

    /// Far above any chain of certificates; keeps a device or a disk image from being read whole.
    static let largest = 1 << 20

    init(_ kind: Kind, _ path: String) throws(TLSError) {
        self.kind = kind
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Self.failure(kind, path, errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.failure(kind, path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw TLSError(.credentials, "\(kind.rawValue) \(path): not a regular file; give the path of a file")
        }
        guard status.st_size <= Self.largest else {
            throw TLSError(.credentials, "\(kind.rawValue) \(path): \(status.st_size) bytes are too many for \(kind.rawValue)s")
        }
        mode = status.st_mode
        bytes = try Self.contents(descriptor, kind, path)
    }

    private static func contents(_ descriptor: Int32, _ kind: Kind, _ path: String) throws(TLSError) -> [UInt8] {
        var failed: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: largest) { buffer, count in
            while count < largest {
                let got = Glibc.read(descriptor, buffer.baseAddress! + count, largest - count)
                if got < 0, errno == EINTR { continue }
                if got < 0 { failed = errno }
                guard got > 0 else { return }
                count += got
            }
        }
        guard failed == 0 else { throw failure(kind, path, failed) }
        return bytes
    }

    private static func failure(_ kind: Kind, _ path: String, _ code: Int32) -> TLSError {
        let cause = String(cString: strerror(code))
        let advice =
            switch code {
            case ENOENT, ENOTDIR:
                switch kind {
                case .ca: "correct the path or make a CA with 'culvert certs init'"
                case .certificate, .key: "correct the path or issue one with 'culvert certs issue'"
                case .revoked: "correct the path"
                case .preSharedKeys: "correct the path or make one with 'psktool -u PEER -p \(path)'"
                }
            case EACCES, EPERM: "let uid \(geteuid()), under which this runs, read it"
            default: "check the file"
            }
        return TLSError(.credentials, "\(kind.rawValue) \(path): \(cause); \(advice)")
    }

    func error(_ cause: String) -> TLSError { TLSError(.credentials, "\(kind.rawValue) \(path): \(cause)") }
}

extension CredentialFile {
    /// Every certificate in the file, in its order; at least one.
    func certificates() throws(TLSError) -> [Certificate] {
        let bio = try reader()
        defer { BIO_free(bio) }
        var result: [Certificate] = []
        ErrorQueue.clear()
        while let x509 = PEM_read_bio_X509(bio, nil, nil, nil) { result.append(Certificate(owning: x509)) }
        let end = ErrorQueue.take()
        // Running out of PEM blocks is how a good file ends.
        if let end, end.library != ERR_LIB_PEM || end.reason != PEM_R_NO_START_LINE {
            throw error("malformed PEM (\(end.text)) in certificate \(result.count + 1); restore the file or issue it anew")
        }
        guard !result.isEmpty else {
            throw error("holds no PEM certificate; it needs a block that starts -----BEGIN CERTIFICATE-----")
        }
        return result
    }

    func privateKey() throws(TLSError) -> PrivateKey {
        let bio = try reader()
        defer { BIO_free(bio) }
        ErrorQueue.clear()
        var asked = false
        let key = withUnsafeMutablePointer(to: &asked) { asked in
            PEM_read_bio_PrivateKey(
                bio, nil,
                { _, _, _, asked in
                    asked?.assumingMemoryBound(to: Bool.self).pointee = true
                    return -1
                }, asked)
        }
        if let key { return PrivateKey(owning: key) }
        ErrorQueue.clear()
        if asked {
            throw error("the key is encrypted and a daemon cannot ask for the passphrase; "
                + "decrypt it with 'openssl pkey -in \(path) -out NEW' and mode 0600")
        }
        let label = "PRIVATE KEY"
        guard String(decoding: bytes, as: UTF8.self).contains("\(label)-----") else {
            throw error("holds no PEM private key; it needs a block that starts -----BEGIN \(label)-----")
        }
        throw error("malformed PEM: the private key in it cannot be decoded; restore the file or issue it anew")
    }

    func revocationList() throws(TLSError) -> RevocationList {
        let bio = try reader()
        defer { BIO_free(bio) }
        ErrorQueue.clear()
        guard let list = PEM_read_bio_X509_CRL(bio, nil, nil, nil) else {
            ErrorQueue.clear()
            throw error("holds no list of revoked certificates; it needs a block that starts -----BEGIN X509 CRL-----")
        }
        return RevocationList(owning: list)
    }

    private func reader() throws(TLSError) -> OpaquePointer {
        // A memory BIO refers to the bytes it was made from, which do not outlive this call, so it gets a copy.
        guard let bio = BIO_new(BIO_s_mem()), bytes.isEmpty || BIO_write(bio, bytes, Int32(bytes.count)) == bytes.count
        else { throw error("out of memory") }
        return bio
    }
}
