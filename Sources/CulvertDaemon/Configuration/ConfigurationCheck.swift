import CulvertIO
import CulvertTLS
import Glibc

/// What a configuration needs of the host it is on.
extension Configuration {
    /// Loads the credentials; what is wrong with them is reported where the file names them.
    public func loadCredentials() throws(ConfigurationError) -> TLSContext {
        let unreadable = credentialFiles.compactMap { key, path -> ConfigurationProblem? in
            guard access(path, R_OK) != 0 else { return nil }
            let error = SystemError("read \(path)")
            let maker = key == "tls.psk" ? "psktool" : "culvert certs"
            let advice = error.code == EACCES ? "let the relay's user read it" : "make it with `\(maker)`"
            return places.problem(key, "cannot \(error); \(advice), or correct the path")
        }
        guard unreadable.isEmpty else { throw ConfigurationError(unreadable) }
        do throws(TLSError) {
            return try TLSContext(tls)
        } catch {
            throw ConfigurationError([places.problem(credentialKey, error.description)])
        }
    }

    /// Files that the configuration names one by one.
    private var credentialFiles: [(key: String, path: String)] {
        switch tls.source {
        case .files(let files): [("tls.ca", files.ca), ("tls.certificate", files.certificate), ("tls.key", files.key)]
        case .directory: []
        case .keys(let file, _): [("tls.psk", file)]
        }
    }

    private var credentialKey: String {
        switch tls.source {
        case .files: "tls"
        case .directory: "tls.directory"
        case .keys: "tls.psk"
        }
    }

    /// Everything odd but usable: in the file, about the credentials it names, and on this host.
    public func allWarnings(_ credentials: TLSContext) -> [ConfigurationProblem] {
        let strangers = relay.peers.compactMap { peer in
            credentials.obstacle(to: peer.identity).map { places.problem("peers.\(peer.name)", "cannot be connected: \($0)") }
        }
        return warnings + credentials.warnings.map { places.problem(credentialKey, $0) } + ownNameWarning + strangers
            + hostWarnings()
    }

    /// Peers expect a certificate to carry the name that they know its relay by, unless they are told another.
    private var ownNameWarning: [ConfigurationProblem] {
        guard case .files(let files) = tls.source, let certificate = CredentialReport(files: files).certificate else { return [] }
        let names = certificate.names(in: files)
        guard !names.contains(relay.name.lowercased()) else { return [] }
        return [
            places.problem(
                "tls.certificate",
                names.isEmpty
                    ? "it carries no DNS name, so no peer will know this relay by it; make another with `culvert certs`"
                    : "it is for \(names.joined(separator: ", ")), not for this relay's name '\(relay.name)'; correct the one or "
                        + "the other, or have peers say 'identity: \(names[0])'")
        ]
    }

    /// What the host lacks now, though it may have it by the time it is needed.
    func hostWarnings() -> [ConfigurationProblem] {
        var found: [ConfigurationProblem] = []
        for service in relay.services {
            guard case .unix(let path) = service.connect else { continue }
            let directory = FilePath.directory(of: path)
            guard !socketDirectories.contains(directory) else { continue }
            if let fault = FilePath.faultAsDirectory(directory) {
                found.append(
                    places.problem(
                        "services.\(service.name).connect",
                        "the directory '\(directory)' \(fault); the service cannot be reached until that is mended"))
            }
        }
        for (index, forward) in relay.forwards.enumerated() {
            let key = "forwards[\(index)]"
            if case .unix(let path) = forward.listen {
                // `serve` makes what is missing, so only what is in the way matters.
                let existing = FilePath.nearestExisting(FilePath.directory(of: path))
                if let fault = FilePath.faultAsDirectory(existing) {
                    found.append(places.problem("\(key).listen", "'\(existing)' \(fault)"))
                }
            }
            if let owner = forward.unix.owner, UInt32(owner) == nil, getpwnam(owner) == nil {
                found.append(places.problem("\(key).owner", "this host has no user '\(owner)'"))
            }
            if let group = forward.unix.group, UInt32(group) == nil, getgrnam(group) == nil {
                found.append(places.problem("\(key).group", "this host has no group '\(group)'"))
            }
        }
        return found
    }

    /// Directories that must be there before the relay's own sockets can be made; `serve` makes them.
    var socketDirectories: [String] {
        var directories = [FilePath.directory(of: admin)]
        for forward in relay.forwards {
            if case .unix(let path) = forward.listen { directories.append(FilePath.directory(of: path)) }
        }
        return directories
    }
}

enum FilePath {
    static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    /// Nil if `path` is a directory.
    static func faultAsDirectory(_ path: String) -> String? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            return errno == ENOENT ? "does not exist" : "cannot be used: \(String(cString: strerror(errno)))"
        }
        return status.st_mode & S_IFMT == S_IFDIR ? nil : "is not a directory"
    }

    static func nearestExisting(_ path: String) -> String {
        var path = path
        while path != "/", access(path, F_OK) != 0, errno == ENOENT {
            path = directory(of: path)
        }
        return path
    }

    /// Makes `path` and what is missing above it with mode 0755, whatever the umask.
    static func makeDirectory(_ path: String) throws(SystemError) {
        guard access(path, F_OK) != 0 else { return }
        let above = directory(of: path)
        if above != path { try makeDirectory(above) }
        guard mkdir(path, 0o755) == 0 else {
            if errno == EEXIST { return }
            throw SystemError("make the directory \(path)")
        }
        chmod(path, 0o755)
    }
}
