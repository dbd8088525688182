/// A migration's outcome in a few lines.
enum SummaryText {
    static func text(_ summary: MigrationSummary, to destination: String) -> String {
        if summary.offline {
            return "The guest's definition has been copied to \(destination) in "
                + "\(HumanText.time(.seconds(summary.totalTime))).\n  \(states(summary))\n"
        }
        var lines = ["The guest has moved to \(destination) in \(HumanText.time(.seconds(summary.totalTime)))."]
        var times: [String] = []
        if let pause = summary.pause { times.append("stood still for \(HumanText.time(.seconds(pause)))") }
        if let downtime = summary.downtime {
            times.append("downtime as \(summary.teller.rawValue) counts it \(HumanText.time(.seconds(downtime)))")
        }
        if !times.isEmpty { lines.append(times.joined(separator: ", ")) }
        lines.append(
            "sent \(HumanText.bytes(Double(summary.bytes))) in \(summary.passes) \(summary.passes == 1 ? "pass" : "passes")"
                + "\(summary.postcopy ? " and post-copy" : ""), \(HumanText.rate(summary.averageRate)) on average")
        lines.append(states(summary))
        return lines.joined(separator: "\n  ") + "\n"
    }

    private static func states(_ summary: MigrationSummary) -> String {
        let teller = summary.teller.rawValue
        return "destination \(teller): \(summary.destinationState); "
            + "source \(teller): \(summary.sourceState)\(summary.sourceQuit ? ", told to quit" : "")"
    }
}
