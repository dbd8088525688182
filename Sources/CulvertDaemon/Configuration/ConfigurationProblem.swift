/// One thing that is wrong with a configuration file, or odd, and where.
public struct ConfigurationProblem: Sendable, Equatable, Codable, CustomStringConvertible {
    public var file: String
    /// Counted from 1; columns in Unicode scalars.
    public var line: Int
    public var column: Int
    /// As in `forwards[0].listen`; empty for the file as a whole.
    public var key: String
    /// What is wrong; what to do.
    public var message: String

    public init(file: String, line: Int, column: Int, key: String, message: String) {
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        self.message = message
    }

    public var description: String {
        "\(file):\(line):\(column): " + (key.isEmpty ? "" : "\(key): ") + message
    }
}

/// Everything that keeps a configuration from being used, in the order of the file; never empty.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    public var problems: [ConfigurationProblem]

    public init(_ problems: [ConfigurationProblem]) {
        self.problems = problems
    }

    public var description: String {
        problems.map(\.description).joined(separator: "\n")
    }
}

/// A position in the file.
struct Place: Sendable, Hashable, Comparable {
    var line: Int
    var column: Int

    static let start = Place(line: 1, column: 1)

    static func < (a: Place, b: Place) -> Bool {
        (a.line, a.column) < (b.line, b.column)
    }
}

/// Where each key of a file stands, so that what is found later can still be reported with its place.
struct ConfigurationPlaces: Sendable, Equatable {
    let file: String
    private(set) var places: [String: Place] = [:]

    init(file: String) {
        self.file = file
    }

    mutating func note(_ key: String, at place: Place) {
        places[key] = place
    }

    /// A problem at `key`, or where the nearest section around it stands if the file leaves `key` to its default.
    func problem(_ key: String, _ message: String) -> ConfigurationProblem {
        var around = key[...]
        while places[String(around)] == nil, let dot = around.lastIndex(of: ".") {
            around = around[..<dot]
        }
        let place = places[String(around)] ?? .start
        return ConfigurationProblem(file: file, line: place.line, column: place.column, key: key, message: message)
    }
}
