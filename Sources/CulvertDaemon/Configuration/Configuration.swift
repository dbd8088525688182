import CulvertIO
import CulvertRelay
import CulvertTLS
import Logging

/// What one configuration file says, every default filled in. `docs/CONFIGURATION.md` is its reference.
public struct Configuration: Sendable, Equatable {
    public var file: String
    public var relay: RelaySettings
    public var tls: TLSSettings
    /// Path of the admin interface's UNIX socket.
    public var admin: String
    /// Where the metrics can be read over TCP; nil: nowhere.
    public var metrics: Endpoint?
    public var log: LogSettings
    /// How long SIGTERM lets streams finish.
    public var drain: Duration
    /// Odd but usable.
    public var warnings: [ConfigurationProblem]
    var places: ConfigurationPlaces

    public static let defaultFile = "/etc/culvert/culvert.yaml"
    public static let defaultAdmin = "/run/culvert/admin.sock"
    /// The one port of a relay; next to libvirt's own TLS port, 16514.
    static let defaultPort: UInt16 = 16515
    static let pkiDirectory = "/etc/culvert/pki"

    /// Reads a file; on an error reports everything that is wrong with it.
    /// - Parameter hostName: what `relay.name` defaults to; nil asks the system.
    public static func load(_ file: String, hostName: String? = nil) throws(ConfigurationError) -> Configuration {
        let text: String
        do throws(SystemError) {
            text = try readText(file)
        } catch {
            throw ConfigurationError([
                ConfigurationPlaces(file: file).problem("", "cannot read the configuration: \(error.reason)")
            ])
        }
        return try parse(text, file: file, hostName: hostName)
    }

    /// - Parameter file: where the text comes from; relative credential paths start at its directory.
    public static func parse(
        _ text: String, file: String, hostName: String? = nil
    ) throws(ConfigurationError) -> Configuration {
        let document: YAMLDocument
        do throws(YAMLDocument.Fault) {
            document = try YAMLDocument(text)
        } catch {
            throw ConfigurationError([
                ConfigurationProblem(
                    file: file, line: error.place.line, column: error.place.column, key: "", message: error.message)
            ])
        }
        let notes = ConfigurationNotes(file: file, shadowed: document.shadowed)
        let reader = ConfigurationReader(notes: notes, hostName: hostName ?? ownHostName())
        let configuration = reader.read(document.root)
        guard notes.errors.isEmpty else {
            throw ConfigurationError(notes.errors.sorted { ($0.line, $0.column) < ($1.line, $1.column) })
        }
        return configuration
    }
}

/// How the relay's log looks.
public struct LogSettings: Sendable, Equatable {
    public enum Format: String, Sendable, CaseIterable {
        /// Lines for people.
        case text
        /// One JSON object a line.
        case json
    }
    public var level = Logger.Level.info
    public var format = Format.text

    public init(level: Logger.Level = .info, format: Format = .text) {
        self.level = level
        self.format = format
    }
}
