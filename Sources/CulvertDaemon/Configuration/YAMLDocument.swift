import Yams

/// The node tree of one YAML document, read on past duplicate keys so that they do not hide what else is wrong.
struct YAMLDocument {
    /// Nil if the document is empty.
    let root: Node?
    /// Keys that stand a second time further down their mapping, by place. The tree has each under another name.
    let shadowed: [Place: String]

    /// What keeps the text from being a YAML document.
    struct Fault: Error, Equatable {
        var place: Place
        var message: String
    }

    /// Yams gives up at the first duplicate key. Its first occurrence then gets a first letter from the private use
    /// area, which keeps every place as it is, and the text is read again.
    init(_ text: String) throws(Fault) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0.unicodeScalars) }
        var shadowed: [Place: String] = [:]
        while true {
            do {
                root = try Yams.compose(yaml: Self.joined(lines))
                self.shadowed = shadowed
                return
            } catch let YamlError.duplicatedKeysInMapping(names, context) {
                let (place, name) = (Place(context.mark), names[0])
                guard let letter = Unicode.Scalar(UInt32(0xE000 + shadowed.count)), shadowed[place] == nil,
                    Self.replaceFirstLetter(of: name, at: place, in: &lines, by: letter)
                else {
                    throw Fault(place: place, message: "the key '\(name)' is here more than once; keep one")
                }
                shadowed[place] = name
            } catch {
                throw Fault(error)
            }
        }
    }

    private static func joined(_ lines: [[Unicode.Scalar]]) -> String {
        var text = String.UnicodeScalarView()
        for (index, line) in lines.enumerated() {
            if index > 0 { text.append("\n") }
            text.append(contentsOf: line)
        }
        return String(text)
    }

    private static func replaceFirstLetter(
        of name: String, at place: Place, in lines: inout [[Unicode.Scalar]], by letter: Unicode.Scalar
    ) -> Bool {
        let line = place.line - 1
        guard lines.indices.contains(line) else { return false }
        for column in [place.column - 1, place.column] where lines[line].indices.contains(column) {
            guard lines[line][column] == name.unicodeScalars.first else { continue }
            lines[line][column] = letter
            return true
        }
        return false
    }
}

extension Place {
    init(_ mark: Mark) {
        self.init(line: mark.line, column: mark.column)
    }
}

extension YAMLDocument.Fault {
    fileprivate init(_ error: any Error) {
        switch error as? YamlError {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let doing = context.map { "\($0.text), from line \($0.mark.line) on: " } ?? ""
            self.init(place: Place(mark), message: "not valid YAML: \(doing)\(problem)")
        case .reader(let problem, _, _, _):
            self.init(place: .start, message: "not valid YAML: \(problem)")
        default:
            self.init(place: .start, message: "not valid YAML: \(error)")
        }
    }
}
