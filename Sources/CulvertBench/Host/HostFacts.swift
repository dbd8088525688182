import Foundation

/// What a result must say about the machine that it was measured on.
public struct HostFacts: Sendable, Codable, Equatable {
    public var processor: String
    /// That this process may use.
    public var cores: Int
    public var kernel: String
    /// Of the last minute, before anything was measured.
    public var load: Double

    /// Whether others used so much of it that what was measured is not what it can do.
    var isBusy: Bool { load > 0.5 * Double(cores) }

    static func current() -> HostFacts {
        let cpu = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = cpu.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
        var system = utsname()
        uname(&system)
        let kernel = withUnsafeBytes(of: &system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        var load = 0.0
        getloadavg(&load, 1)
        return HostFacts(
            processor: model.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown processor",
            cores: ProcessInfo.processInfo.activeProcessorCount, kernel: kernel, load: load)
    }
}
