import Glibc

/// A directory with one certificate to accept connections with and one to make them, as QEMU or libvirt want it.
///
/// | | QEMU, as in `/etc/pki/qemu` | libvirt, `/etc/pki/libvirt` and its neighbour |
/// |---|---|---|
/// | CA | `ca-cert.pem` | `../CA/cacert.pem` |
/// | revoked certificates, if there is such a file | `ca-crl.pem` | `../CA/cacrl.pem` |
/// | accepting | `server-cert.pem`, `server-key.pem` | `servercert.pem`, `private/serverkey.pem` |
/// | dialling | `client-cert.pem`, `client-key.pem` | `clientcert.pem`, `private/clientkey.pem` |
///
/// Names from https://www.qemu.org/docs/master/system/tls.html and https://libvirt.org/kbase/tlscerts.html. The
/// certificates that those pages have one make for clients carry no alternative names, so here a certificate without any
/// is known by its common name.
public struct CredentialDirectory: Sendable {
    public let accepting: TLSFiles
    public let dialling: TLSFiles

    /// - Throws: `TLSError` that names every file that is missing.
    public init(_ path: String) throws(TLSError) {
        let layouts = [Layout.qemu, .libvirt]
        guard let layout = layouts.first(where: { $0.isUsed(in: path) }) else {
            throw TLSError(
                .credentials,
                "directory \(path): holds credentials neither as QEMU lays them out (\(Layout.qemu.serverCertificate), …) "
                    + "nor as libvirt does (\(Layout.libvirt.serverCertificate), …); correct the path")
        }
        let missing = layout.required.filter { access(Self.join(path, $0.name), F_OK) != 0 && errno == ENOENT }
        guard missing.isEmpty else {
            let list = missing.map { "\(Self.join(path, $0.name)) (\($0.purpose))" }.joined(separator: ", ")
            throw TLSError(
                .credentials, "directory \(path): laid out for \(layout.owner), but without \(list); a relay both accepts "
                    + "connections and makes them, so put there what is missing, or set tls.ca, tls.certificate and tls.key")
        }
        accepting = layout.files(in: path, layout.serverCertificate, layout.serverKey)
        dialling = layout.files(in: path, layout.clientCertificate, layout.clientKey)
    }

    private static func join(_ directory: String, _ name: String) -> String {
        directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)"
    }

    private struct Layout {
        var owner: String
        var ca: String
        var revoked: String
        var serverCertificate: String
        var serverKey: String
        var clientCertificate: String
        var clientKey: String

        static let qemu = Layout(
            owner: "QEMU", ca: "ca-cert.pem", revoked: "ca-crl.pem", serverCertificate: "server-cert.pem",
            serverKey: "server-key.pem", clientCertificate: "client-cert.pem", clientKey: "client-key.pem")
        static let libvirt = Layout(
            owner: "libvirt", ca: "../CA/cacert.pem", revoked: "../CA/cacrl.pem", serverCertificate: "servercert.pem",
            serverKey: "private/serverkey.pem", clientCertificate: "clientcert.pem", clientKey: "private/clientkey.pem")

        var required: [(name: String, purpose: String)] {
            [
                (ca, "the CA"), (serverCertificate, "the certificate to accept connections with"), (serverKey, "its key"),
                (clientCertificate, "the certificate to make connections with"), (clientKey, "its key"),
            ]
        }

        func isUsed(in path: String) -> Bool {
            [serverCertificate, clientCertificate].contains { access(join(path, $0), F_OK) == 0 }
        }

        func files(in path: String, _ certificate: String, _ key: String) -> TLSFiles {
            var files = TLSFiles(ca: join(path, ca), certificate: join(path, certificate), key: join(path, key))
            files.revoked = access(join(path, revoked), F_OK) == 0 ? join(path, revoked) : nil
            files.allowsCommonNames = true
            return files
        }
    }
}
