/// A migration's progress as one line.
enum ProgressLine {
    private static let leastBar = 10, mostBar = 40

    /// With a bar, for a terminal of `width` columns; always shorter than that, so that no terminal wraps it.
    /// In a narrow one the less telling figures go first.
    static func bar(_ progress: MigrationProgress, width: Int) -> String {
        let percent = "\(whole(progress.percent).padded(to: 3)) %"
        // By importance.
        var figures = [
            (4, HumanText.rate(progress.rate).padded(to: 10)),
            (5, "left \(HumanText.bytes(Double(progress.remaining)).padded(to: 8))"),
            (3, "ETA \(eta(progress).padded(to: 5))"),
            (1, "dirty \(HumanText.rate(progress.dirtyRate).padded(to: 10))"),
            (2, "pass \(progress.pass)"),
        ]
        func room() -> Int {
            let taken = figures.reduce(percent.count + 2) { $0 + 2 + $1.1.count } + label(progress).count + 3
            return width - 1 - taken
        }
        while room() < leastBar, let least = figures.indices.min(by: { figures[$0].0 < figures[$1].0 }) {
            figures.remove(at: least)
        }
        guard room() >= leastBar else { return String(percent.prefix(max(width - 1, 0))) }
        let length = min(room(), mostBar)
        let done = Int((Double(length) * progress.percent / 100).rounded(.down))
        let bar = String(repeating: "#", count: done) + String(repeating: "-", count: length - done)
        return "\(label(progress)) [\(bar)]  \(([percent] + figures.map(\.1)).joined(separator: "  "))"
    }

    /// Without a bar, for a log.
    static func plain(_ progress: MigrationProgress) -> String {
        "\(label(progress)): \(whole(progress.percent)) %, \(HumanText.rate(progress.rate)), "
            + "\(HumanText.bytes(Double(progress.remaining))) left, \(HumanText.rate(progress.dirtyRate)) dirtied, "
            + "pass \(progress.pass), ETA \(eta(progress))"
    }

    private static func label(_ progress: MigrationProgress) -> String {
        progress.stage == .postcopy ? "post-copy" : progress.stage.rawValue
    }

    private static func whole(_ percent: Double) -> String { String(Int(percent.rounded(.down))) }

    /// The guest may write memory faster than it can be sent; then there is no telling.
    private static func eta(_ progress: MigrationProgress) -> String {
        guard let eta = progress.eta, eta < 100 * 3600 else { return "?" }
        return HumanText.clock(.seconds(eta))
    }
}

extension String {
    /// With spaces before it.
    fileprivate func padded(to width: Int) -> String { String(repeating: " ", count: max(width - count, 0)) + self }
}
