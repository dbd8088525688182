import CulvertRelay
import CulvertTLS
import Foundation

/// Who this relay is: one of three kinds of credentials.
extension ConfigurationReader {
    func readTLS(_ value: ConfigurationValue?, relayName: String) -> TLSSettings {
        let section = value?.section(["backend", "records", "ca", "certificate", "key", "directory", "psk", "psk-user"])
        let backend: TLSBackend? = section?["backend"]?.choice()
        let records: TLSRecords? = section?["records"]?.choice()
        if let section { checkKinds(section) }
        return TLSSettings(
            readSource(section, relayName: relayName), backend: backend ?? .openssl, records: records ?? .auto)
    }

    private func readSource(_ section: ConfigurationSection?, relayName: String) -> CredentialSource {
        if let directory = readPath(section?["directory"]) { return .directory(directory) }
        if let file = readPath(section?["psk"]) {
            return .keys(file: file, user: section?["psk-user"].flatMap(readUser) ?? relayName)
        }
        let directory = Configuration.pkiDirectory
        return .files(
            TLSFiles(
                ca: readPath(section?["ca"]) ?? "\(directory)/ca.pem",
                certificate: readPath(section?["certificate"]) ?? "\(directory)/\(relayName).pem",
                key: readPath(section?["key"]) ?? "\(directory)/\(relayName).key"))
    }

    /// Reports every key that does not go with the first one.
    private func checkKinds(_ section: ConfigurationSection) {
        let kinds = [["directory"], ["psk", "psk-user"], ["ca", "certificate", "key"]]
        let used = kinds.map { $0.filter { section[$0] != nil } }.filter { !$0.isEmpty }
        guard let first = used.first?.first else { return }
        for key in used.dropFirst().joined() {
            section[key]?.error("goes not together with tls.\(first); a relay has one kind of credentials, so remove one of them")
        }
        if first == "psk-user" {
            section["psk-user"]?.error("names this relay where pre-shared keys are used; set tls.psk too, or remove it")
        }
    }

    /// A name that can stand in a key file.
    private func readUser(_ value: ConfigurationValue) -> String? {
        guard let name = value.text() else { return nil }
        if let fault = Names.fault(in: name) {
            value.error("'\(name)' \(fault)")
            return nil
        }
        return name
    }

    /// A relative path starts at the configuration file's directory, so that the process's own does not matter.
    private func readPath(_ value: ConfigurationValue?) -> String? {
        guard let path = value?.text() else { return nil }
        if path.hasPrefix("/") { return path }
        return ((notes.places.file as NSString).deletingLastPathComponent as NSString).appendingPathComponent(path)
    }

    /// With pre-shared keys a peer is its name, so it cannot be ours.
    func checkOwnName(_ entries: [ConfigurationEntry], _ peers: [PeerSettings], _ tls: TLSSettings) {
        guard case .keys(_, let user) = tls.source else { return }
        for peer in peers where peer.identity.lowercased() == user.lowercased() {
            entries.last { $0.name == peer.name }?.error(
                "its identity '\(peer.identity)' is what this relay presents itself as; give one of them another name")
        }
    }
}
