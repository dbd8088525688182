/// Why a text is no size or time.
public struct UnitError: Error, Equatable {
    public var description: String
}

/// The one way quantities are written: a whole number and a unit without a space between.
public struct Units<Quantity: Sendable>: Sendable {
    /// Unit and the function from a count of it, nil on overflow; the order is the one errors list them in.
    let table: [(unit: String, quantity: @Sendable (Int) -> Quantity?)]
    let noun: String
    let example: String

    public func parse(_ text: String) throws(UnitError) -> Quantity {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let unit = text.dropFirst(digits.count)
        guard !digits.isEmpty else {
            throw UnitError(description: "'\(text)' is not a \(noun); write a whole number and its unit, as in \(example)")
        }
        let names = table.map(\.unit).joined(separator: ", ")
        guard !unit.isEmpty else {
            throw UnitError(description: "'\(text)' has no unit; write one of \(names), as in \(example)")
        }
        guard let make = table.first(where: { $0.unit == unit })?.quantity else {
            throw UnitError(description: "'\(text)' has the unknown unit '\(unit)'; write one of \(names), as in \(example)")
        }
        guard let count = Int(digits), let quantity = make(count) else {
            throw UnitError(description: "'\(text)' is too large")
        }
        return quantity
    }
}

extension Units where Quantity == Int {
    /// Bytes.
    public static let size = Units(
        table: [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30)].map { unit, shift in
            (unit: unit, quantity: { count in
                let (bytes, overflow) = count.multipliedReportingOverflow(by: 1 << shift)
                return overflow ? nil : bytes
            })
        },
        noun: "size", example: "64MiB")
}

extension Units where Quantity == Duration {
    public static let time = Units(
        table: [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)].map { unit, factor in
            (unit: unit, quantity: { count in
                let (milliseconds, overflow) = count.multipliedReportingOverflow(by: factor)
                return overflow ? nil : .milliseconds(milliseconds)
            })
        },
        noun: "time", example: "30s")
}

/// Writes sizes and times the way `Units` reads them, in the largest unit that stays whole.
enum UnitText {
    static func size(_ bytes: Int) -> String {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] where bytes != 0 && bytes % (1 << shift) == 0 {
            return "\(bytes >> shift)\(unit)"
        }
        return "\(bytes)B"
    }

    static func time(_ duration: Duration) -> String {
        let milliseconds = duration.components.seconds * 1_000 + duration.components.attoseconds / 1_000_000_000_000_000
        for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] as [(String, Int64)]
        where milliseconds % factor == 0 && (milliseconds != 0 || unit == "s") {
            return "\(milliseconds / factor)\(unit)"
        }
        return "\(milliseconds)ms"
    }
}
