import Foundation

/// Quantities as people read them. Numbers in text never follow the locale, so that output can be searched.
enum HumanText {
    /// `874 B`, `3.1 GiB`.
    static func bytes(_ count: Double) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = max(count, 0), unit = 0
        // 1023.5 would be written as 1024.
        while value >= 1023.5, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return "\(number(value, whole: unit == 0)) \(units[unit])"
    }

    /// `874 B/s`, `3.1 GiB/s`.
    static func rate(_ bytesPerSecond: Double) -> String { "\(bytes(bytesPerSecond))/s" }

    /// `35 ms`, `4.2 s`, `3 min 5 s`, `2 h 3 min`.
    static func time(_ duration: Duration) -> String {
        let seconds = duration.inSeconds
        if seconds < 0.9995 { return "\(Int((max(seconds, 0) * 1000).rounded())) ms" }
        if seconds < 59.95 {
            let text = number(seconds, whole: false)
            return "\(text.hasSuffix(".0") ? String(text.dropLast(2)) : text) s"
        }
        let whole = Int(seconds.rounded())
        let (minutes, rest) = (whole / 60 % 60, whole % 60)
        if whole < 3600 { return rest == 0 ? "\(minutes) min" : "\(minutes) min \(rest) s" }
        return minutes == 0 ? "\(whole / 3600) h" : "\(whole / 3600) h \(minutes) min"
    }

    /// `0:07`, `12:41`, `1:02:03`; for a clock whose width should not jump.
    static func clock(_ duration: Duration) -> String {
        let whole = Int(max(duration.inSeconds, 0).rounded())
        let seconds = String(format: "%02d", whole % 60)
        return whole < 3600
            ? "\(whole / 60):\(seconds)" : "\(whole / 3600):\(String(format: "%02d", whole / 60 % 60)):\(seconds)"
    }

    private static func number(_ value: Double, whole: Bool) -> String {
        whole || value >= 99.95 ? String(Int(value.rounded())) : String(format: "%.1f", value)
    }
}

extension Duration {
    var inSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) / 1e18
    }
}
