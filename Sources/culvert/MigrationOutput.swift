import ArgumentParser
import CulvertDaemon
import CulvertHypervisor

/// How a migration is shown.
struct MigrationOutput: ParsableArguments {
    @Flag(help: "Print a JSON object a line for each stage, progress and the end.")
    var json = false

    @Flag(help: "Print nothing but errors.")
    var quiet = false

    func validate() throws {
        if json, quiet { throw ValidationError("--json and --quiet exclude each other.") }
    }

    func display(destination: String) -> MigrationDisplay {
        MigrationDisplay(
            style: style, destination: destination, width: { Terminal.width },
            // A guest on its way does not depend on who reads about it.
            write: { try? Terminal.write($0) })
    }

    private var style: MigrationDisplay.Style {
        if quiet { return .quiet }
        if json { return .json }
        return Terminal.isInteractive ? .bar : .lines
    }
}

/// Quantities with their units, as options.
enum Quantity {
    @Sendable static func time(_ text: String) throws -> Duration { try parsed { try Units.time.parse(text) } }

    /// Bytes a second.
    @Sendable static func rate(_ text: String) throws -> Int {
        guard text.hasSuffix("/s") else { throw ValidationError("'\(text)' is not a rate, as in 100MiB/s.") }
        return try parsed { try Units.size.parse(String(text.dropLast(2))) }
    }

    private static func parsed<Value>(_ parse: () throws -> Value) throws -> Value {
        do {
            return try parse()
        } catch let error as UnitError {
            throw ValidationError(error.description)
        }
    }
}
