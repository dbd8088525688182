/// Columns that line up, for people.
public struct TextTable {
    public enum Alignment {
        case left, right
    }
    private let columns: [(title: String, alignment: Alignment)]
    private var rows: [[String]] = []

    public init(_ columns: [(title: String, alignment: Alignment)]) {
        self.columns = columns
    }

    var isEmpty: Bool { rows.isEmpty }

    public mutating func add(_ row: [String]) {
        precondition(row.count == columns.count)
        rows.append(row.map(HumanText.plain))
    }

    /// - Parameter bold: applied to the line of titles.
    public func text(bold: (String) -> String) -> String {
        let titles = columns.map(\.title)
        let widths = columns.indices.map { column in
            ([titles] + rows).map { $0[column].count }.max() ?? 0
        }
        func line(_ cells: [String]) -> String {
            var line = ""
            for (column, cell) in cells.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                if column > 0 { line += "  " }
                line += columns[column].alignment == .right ? padding + cell : cell + padding
            }
            while line.last == " " { line.removeLast() }
            return line
        }
        return bold(line(titles)) + "\n" + rows.map { line($0) + "\n" }.joined()
    }
}
