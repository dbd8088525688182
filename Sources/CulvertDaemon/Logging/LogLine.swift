import Glibc
import Logging

/// One log event as text. Whatever it holds, it stays one line: peers' words end up in here.
struct LogLine {
    /// Seconds since 1970.
    let time: Double
    let level: Logger.Level
    let message: String
    let metadata: Logger.Metadata

    /// `2025-03-01T12:00:00.123Z warning stream was reset peer=hostb stream=5`
    var text: String {
        "\(timestamp) \(level.rawValue) \(untimedText)"
    }

    /// `stream was reset peer=hostb stream=5`
    var untimedText: String {
        var line = Self.printable(message)
        for (key, value) in sorted {
            let value = "\(value)"
            let plain =
                !value.isEmpty
                && value.unicodeScalars.allSatisfy { $0 > " " && $0 != "\"" && $0 != "=" && $0 != "\u{7F}" }
            line += " \(Self.printable(key))=" + (plain ? value : JSONText.quoted(value))
        }
        return line
    }

    /// `{"time":"…","level":"warning","message":"…","peer":"hostb","stream":"5"}`
    var json: String {
        var fields = [("time", timestamp), ("level", level.rawValue), ("message", message)]
        let taken = Set(fields.map(\.0))
        fields += sorted.map { (taken.contains($0.key) ? "_" + $0.key : $0.key, "\($0.value)") }
        return "{" + fields.map { JSONText.quoted($0.0) + ":" + JSONText.quoted($0.1) }.joined(separator: ",") + "}"
    }

    private var sorted: [(key: String, value: Logger.Metadata.Value)] {
        metadata.sorted { $0.key < $1.key }
    }

    /// RFC 3339 in UTC, to the millisecond.
    private var timestamp: String {
        let milliseconds = Int64((time * 1_000).rounded(.down))
        var seconds = time_t(milliseconds / 1_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func padded(_ number: some BinaryInteger, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let day = "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1, 2))-\(padded(parts.tm_mday, 2))"
        let clock = "\(padded(parts.tm_hour, 2)):\(padded(parts.tm_min, 2)):\(padded(parts.tm_sec, 2))"
        return "\(day)T\(clock).\(padded(milliseconds % 1_000, 3))Z"
    }

    private static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: JSONText.isControl) else { return text }
        return String(JSONText.quoted(text).dropFirst().dropLast())
    }
}

/// JSON strings without the cost of a general encoder.
enum JSONText {
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where isControl(scalar):
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// C0, DEL and C1: what a terminal or a line-based reader may act on.
    static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
    }
}
