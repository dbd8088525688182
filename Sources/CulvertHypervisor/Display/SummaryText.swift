/// A migration's outcome in a few lines.
enum SummaryText {
    static func text(_ summary: MigrationSummary, to destination: String) -> String {
        var lines = ["The guest has moved to \(destination) in \(HumanText.time(.seconds(summary.totalTime)))."]
        var times: [String] = []
        if let pause = summary.pause { times.append("stood still for \(HumanText.time(.seconds(pause)))") }
        if let downtime = summary.downtime {
            times.append("downtime as QEMU counts it \(HumanText.time(.seconds(downtime)))")
        }
        if !times.isEmpty { lines.append(times.joined(separator: ", ")) }
        lines.append(
            "sent \(HumanText.bytes(Double(summary.bytes))) in \(summary.passes) \(summary.passes == 1 ? "pass" : "passes")"
                + "\(summary.postcopy ? " and post-copy" : ""), \(HumanText.rate(summary.averageRate)) on average")
        lines.append(
            "destination QEMU: \(summary.destinationState); "
                + "source QEMU: \(summary.sourceState)\(summary.sourceQuit ? ", told to quit" : "")")
        return lines.joined(separator: "\n  ") + "\n"
    }
}
