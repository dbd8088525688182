import Yams

/// Collects what is wrong while a file is read, so that one run reports everything.
final class ConfigurationNotes {
    let shadowed: [Place: String]
    private(set) var errors: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []
    private(set) var places: ConfigurationPlaces

    init(file: String, shadowed: [Place: String] = [:]) {
        places = ConfigurationPlaces(file: file)
        self.shadowed = shadowed
    }

    func note(_ key: String, at place: Place) {
        places.note(key, at: place)
    }

    func error(_ key: String, at place: Place, _ message: String) {
        errors.append(problem(key, place, message))
    }

    func warning(_ key: String, at place: Place, _ message: String) {
        warnings.append(problem(key, place, message))
    }

    private func problem(_ key: String, _ place: Place, _ message: String) -> ConfigurationProblem {
        ConfigurationProblem(file: places.file, line: place.line, column: place.column, key: key, message: message)
    }
}

/// One value of the file with its key and place. Every reader returns nil after it has noted what is wrong.
struct ConfigurationValue {
    let node: Node
    /// As in `peers.hostb.addresses[0]`; empty for the document.
    let key: String
    let place: Place
    let notes: ConfigurationNotes

    init(_ node: Node, key: String, place: Place, notes: ConfigurationNotes) {
        self.node = node
        self.key = key
        self.place = place
        self.notes = notes
        notes.note(key, at: place)
    }

    /// A scalar stands where it stands, anything else where its key does.
    init(_ node: Node, key: String, keyPlace: Place, notes: ConfigurationNotes) {
        var place = keyPlace
        if case .scalar(let scalar) = node, !Self.isEmpty(scalar), let mark = scalar.mark {
            place = Place(mark)
        }
        self.init(node, key: key, place: place, notes: notes)
    }

    func error(_ message: String) {
        notes.error(key, at: place, message)
    }

    /// `key:` with nothing behind it, which YAML reads as null.
    var isEmpty: Bool {
        guard case .scalar(let scalar) = node else { return false }
        return Self.isEmpty(scalar)
    }

    private static func isEmpty(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
    }

    private var kind: String {
        switch node {
        case .mapping: "a map"
        case .sequence: "a list"
        case .scalar(let scalar): isEmpty ? "nothing" : "'\(scalar.string)'"
        case .alias: "an alias"
        }
    }

    // MARK: Structure

    /// The entries of a map, in the order of the file, without those that a later one of the same key replaces.
    /// An empty value is an empty map.
    func entries() -> [ConfigurationEntry]? {
        if isEmpty { return [] }
        guard case .mapping(let mapping) = node else {
            error("here goes a map of keys and values, not \(kind)")
            return nil
        }
        var result: [ConfigurationEntry] = []
        var firstLine: [String: Int] = [:]
        for (keyNode, valueNode) in mapping {
            let keyPlace = keyNode.mark.map(Place.init) ?? place
            guard case .scalar(let scalar) = keyNode else {
                notes.error(key, at: keyPlace, "a key must be a plain word")
                continue
            }
            let shadowed = notes.shadowed[keyPlace]
            let name = shadowed ?? scalar.string
            let path = key.isEmpty ? name : "\(key).\(name)"
            if let line = firstLine[name] {
                notes.error(path, at: keyPlace, "this key stands already on line \(line); keep one of them")
            }
            firstLine[name] = firstLine[name] ?? keyPlace.line
            guard shadowed == nil else { continue }
            let value = ConfigurationValue(valueNode, key: path, keyPlace: keyPlace, notes: notes)
            result.append(ConfigurationEntry(name: name, keyPlace: keyPlace, value: value))
        }
        return result
    }

    /// A map whose keys are all known here; others are errors.
    func section(_ known: [String]) -> ConfigurationSection? {
        guard let entries = entries() else { return nil }
        var values: [String: ConfigurationValue] = [:]
        for entry in entries {
            if known.contains(entry.name) {
                values[entry.name] = entry.value
            } else {
                let advice = Spelling.advice(
                    for: entry.name, among: known, otherwise: "known here: \(known.joined(separator: ", "))")
                entry.error("unknown key; \(advice)")
            }
        }
        return ConfigurationSection(value: self, values: values)
    }

    /// The items of a list. An empty value is an empty list.
    func list() -> [ConfigurationValue]? {
        if isEmpty { return [] }
        guard case .sequence(let sequence) = node else {
            error("here goes a list, as in [a, b], not \(kind)")
            return nil
        }
        return sequence.enumerated().map { index, item in
            ConfigurationValue(item, key: "\(key)[\(index)]", place: item.mark.map(Place.init) ?? place, notes: notes)
        }
    }

    // MARK: Scalars

    /// Any scalar as it is written; never empty.
    func text() -> String? {
        guard case .scalar(let scalar) = node, !isEmpty, !scalar.string.isEmpty else {
            error("here goes a text, not \(kind == "''" ? "nothing" : kind)")
            return nil
        }
        return scalar.string
    }

    func integer(_ range: ClosedRange<Int>) -> Int? {
        guard let text = text() else { return nil }
        guard let number = Int(text), range.contains(number) else {
            error("'\(text)' is not a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    /// Bytes.
    func size(_ range: ClosedRange<Int>) -> Int? {
        quantity(.size, range)
    }

    func time(_ range: ClosedRange<Duration>) -> Duration? {
        quantity(.time, range)
    }

    private func quantity<Quantity: Comparable>(_ units: Units<Quantity>, _ range: ClosedRange<Quantity>) -> Quantity? {
        guard let text = text() else { return nil }
        do throws(UnitError) {
            let quantity = try units.parse(text)
            guard range.contains(quantity) else {
                let (least, most) = (units.text(range.lowerBound), units.text(range.upperBound))
                error("\(text) is out of range; it goes from \(least) to \(most)")
                return nil
            }
            return quantity
        } catch {
            self.error(error.description)
            return nil
        }
    }

    func choice<Choice: RawRepresentable & CaseIterable>(_: Choice.Type = Choice.self) -> Choice?
    where Choice.RawValue == String {
        guard let text = text() else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        error("'\(text)' is not one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
        return nil
    }
}

/// One key of a map whose keys are names of the user's choice.
struct ConfigurationEntry {
    let name: String
    let keyPlace: Place
    let value: ConfigurationValue

    /// Reports against the name itself.
    func error(_ message: String) {
        value.notes.error(value.key, at: keyPlace, message)
    }
}

/// A map of known keys.
struct ConfigurationSection {
    let value: ConfigurationValue
    private let values: [String: ConfigurationValue]

    init(value: ConfigurationValue, values: [String: ConfigurationValue]) {
        self.value = value
        self.values = values
    }

    /// Nil if the file leaves `name` to its default.
    subscript(name: String) -> ConfigurationValue? { values[name] }

    /// Notes an error if `name` is missing; `example` shows what to write.
    func require(_ name: String, example: String) -> ConfigurationValue? {
        if let found = values[name] { return found }
        value.error("'\(name)' is missing; write for example \(name): \(example)")
        return nil
    }
}
