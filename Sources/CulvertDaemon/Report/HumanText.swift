/// Quantities as people read them.
enum HumanText {
    /// Three significant digits in binary units.
    static func bytes(_ count: some BinaryInteger) -> String {
        scaled(Double(count))
    }

    /// Bytes a second; empty when nothing moves.
    static func rate(_ bytesPerSecond: Double) -> String {
        bytesPerSecond < 1 ? "-" : scaled(bytesPerSecond) + "/s"
    }

    private static func scaled(_ value: Double) -> String {
        var value = value
        for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
            if value < 999.5 || unit == "TiB" { return "\(significant(value, whole: unit == "B")) \(unit)" }
            value /= 1024
        }
        fatalError("the last unit takes any value")
    }

    private static func significant(_ value: Double, whole: Bool) -> String {
        if whole || value >= 99.95 { return fixed(value, 0) }
        return fixed(value, value >= 9.995 ? 1 : 2)
    }

    /// `places` digits behind the point, rounded.
    static func fixed(_ value: Double, _ places: Int) -> String {
        let scale = [1, 10, 100, 1_000][places]
        let units = Int((value * Double(scale)).rounded())
        guard places > 0 else { return String(units) }
        let fraction = String(units % scale)
        return "\(units / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
    }

    /// `12s`, `3m05s`, `2h07m`, `5d03h`.
    static func age(_ seconds: Double) -> String {
        let whole = Int(seconds)
        func pair(_ large: Int, _ largeUnit: String, _ small: Int, _ smallUnit: String) -> String {
            "\(large)\(largeUnit)" + (small < 10 ? "0" : "") + "\(small)\(smallUnit)"
        }
        switch whole {
        case ..<60: return "\(whole)s"
        case ..<3_600: return pair(whole / 60, "m", whole % 60, "s")
        case ..<86_400: return pair(whole / 3_600, "h", whole / 60 % 60, "m")
        default: return pair(whole / 86_400, "d", whole / 3_600 % 24, "h")
        }
    }

    /// Milliseconds, finer the smaller.
    static func milliseconds(_ value: Double?) -> String {
        guard let value else { return "-" }
        return fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0) + " ms"
    }

    /// Without what a terminal would act on: peers' words are printed too.
    static func plain(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { JSONText.isControl($0) ? "?" : $0 }))
    }
}
