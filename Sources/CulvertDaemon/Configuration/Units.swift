/// Why a text is no size or time.
public struct UnitError: Error, Equatable {
    public var description: String
}

/// The one way quantities of a kind are written: a whole number and a unit without a space between.
public struct Units<Quantity: Sendable>: Sendable {
    /// From the least, which is 1, to the greatest.
    let factors: [(unit: String, factor: Int)]
    let noun: String
    let example: String
    /// From and to a count of the least unit.
    let make: @Sendable (Int) -> Quantity
    let count: @Sendable (Quantity) -> Int

    public func parse(_ text: String) throws(UnitError) -> Quantity {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let unit = text.dropFirst(digits.count)
        let advice = "write one of \(factors.map(\.unit).joined(separator: ", ")), as in \(example)"
        guard !digits.isEmpty else {
            throw UnitError(
                description: "'\(text)' is not a \(noun); write a whole number and its unit, as in \(example)")
        }
        guard !unit.isEmpty else { throw UnitError(description: "'\(text)' has no unit; \(advice)") }
        guard let factor = factors.first(where: { $0.unit == unit })?.factor else {
            throw UnitError(description: "'\(text)' has the unknown unit '\(unit)'; \(advice)")
        }
        let (count, overflow) = Int(digits)?.multipliedReportingOverflow(by: factor) ?? (0, true)
        guard !overflow else { throw UnitError(description: "'\(text)' is too large") }
        return make(count)
    }

    /// As `parse` reads it, in the greatest unit that stays whole.
    func text(_ quantity: Quantity) -> String {
        let count = count(quantity)
        let (unit, factor) = factors.last { count != 0 && count.isMultiple(of: $0.factor) } ?? factors[0]
        return "\(count / factor)\(unit)"
    }
}

extension Units where Quantity == Int {
    /// Bytes.
    public static let size = Units(
        factors: [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)], noun: "size", example: "64MiB",
        make: { $0 }, count: { $0 })
}

extension Units where Quantity == Duration {
    public static let time = Units(
        factors: [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)], noun: "time", example: "30s",
        make: { .milliseconds($0) }, count: { Int($0 / .milliseconds(1)) })
}
