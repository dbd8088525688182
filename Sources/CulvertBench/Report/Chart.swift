/// The report as a picture: for each setup a bar of throughput with its spread and what is possible, a bar of CPU time,
/// and the round trips.
struct Chart {
    private let report: BenchReport

    init(_ report: BenchReport) { self.report = report }

    // Pixels.
    private static let width = 960.0, margin = 32.0, rowHeight = 84.0, top = 138.0, barHeight = 20.0
    private static let speedStart = 32.0, speedWidth = 420.0
    private static let cpuStart = 492.0, cpuWidth = 190.0
    private static let latencyEnd = width - margin

    private enum Colour {
        static let speed = "#2f6fab", near = "#2f6fab", far = "#8db8de", possible = "#c2571a"
        static let ink = "#1f2933", quiet = "#616e7c", line = "#d9e2ec", track = "#f0f4f8"
    }

    var svg: String {
        let height = Self.top + Self.rowHeight * Double(report.rows.count) + 76
        var marks = [
            """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(px(Self.width)) \(px(height))" width="\(px(Self.width))" \
            height="\(px(height))" font-family="'Inter','Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif" \
            font-size="13" fill="\(Colour.ink)">
            """,
            "<title>\(escape(report.rows.map { "\($0.setup.label): \($0.verdict)" }.joined(separator: "; ")))</title>",
            rectangle(0.5, 0.5, Self.width - 1, height - 1, "#ffffff", radius: 14, stroke: Colour.line),
            text(Self.margin, 40, "culvert bench", size: 20, weight: 600),
            text(Self.margin, 64, report.conditions, fill: Colour.quiet),
        ]
        marks += heads
        for (index, row) in report.rows.enumerated() {
            marks += bars(of: row, at: Self.top + Self.rowHeight * Double(index))
        }
        marks += legend(at: height - 58)
        return (marks + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    private var heads: [String] {
        let y = 104.0
        return [
            text(Self.speedStart, y, "Throughput, MB/s", weight: 600),
            text(Self.cpuStart, y, "CPU seconds a GB", weight: 600),
            text(Self.latencyEnd, y, "64 bytes there and back", weight: 600, anchor: "end"),
            line(Self.margin, y + 12, Self.width - Self.margin, y + 12, Colour.line),
        ]
    }

    // MARK: One setup

    private func bars(of row: BenchReport.Row, at y: Double) -> [String] {
        [text(Self.speedStart, y + 8, row.setup.label, weight: 600)]
            + speed(of: row, at: y + 20) + cpu(of: row, at: y + 20) + latencies(of: row, at: y + 20)
    }

    private func speed(of row: BenchReport.Row, at y: Double) -> [String] {
        let full = report.rows.map { max($0.megabytesPerSecond.most, $0.possible?.megabytesPerSecond ?? 0) }.max() ?? 1
        func x(_ value: Double) -> Double { Self.speedStart + Self.speedWidth * value / full }
        let speed = row.megabytesPerSecond
        let middle = y + Self.barHeight / 2
        var marks = [
            rectangle(Self.speedStart, y, Self.speedWidth, Self.barHeight, Colour.track),
            rectangle(Self.speedStart, y, x(speed.median) - Self.speedStart, Self.barHeight, Colour.speed),
            line(x(speed.least), middle, x(speed.most), middle, Colour.ink),
            line(x(speed.least), middle - 4, x(speed.least), middle + 4, Colour.ink),
            line(x(speed.most), middle - 4, x(speed.most), middle + 4, Colour.ink),
        ]
        var words = "\(fixed(speed.median, 0)) (\(fixed(speed.least, 0)) to \(fixed(speed.most, 0)))"
        if let possible = row.possible, let share = row.share {
            let edge = x(possible.megabytesPerSecond)
            marks.append(line(edge, y - 4, edge, y + Self.barHeight + 4, Colour.possible, width: 2.5))
            words += ", \(fixed(share * 100, 0)) % of the possible \(fixed(possible.megabytesPerSecond, 0))"
        }
        return marks + [text(Self.speedStart, y + Self.barHeight + 18, words, fill: Colour.quiet)]
    }

    private func cpu(of row: BenchReport.Row, at y: Double) -> [String] {
        let parts = [(row.sendingRelay?.median, Colour.near), (row.receivingRelay?.median, Colour.far)]
        let known = parts.compactMap { part in part.0.map { ($0, part.1) } }
        guard !known.isEmpty else { return [text(Self.cpuStart, y + 15, "not known", fill: Colour.quiet)] }
        let full = report.rows.map { ($0.sendingRelay?.median ?? 0) + ($0.receivingRelay?.median ?? 0) }.max() ?? 1
        var marks: [String] = []
        var x = Self.cpuStart
        for (value, colour) in known {
            let width = Self.cpuWidth * value / max(full, .leastNonzeroMagnitude)
            marks.append(rectangle(x, y, width, Self.barHeight, colour))
            x += width
        }
        let words = known.map { fixed($0.0, 2) }.joined(separator: " + ")
        return marks + [text(Self.cpuStart, y + Self.barHeight + 18, words, fill: Colour.quiet)]
    }

    private func latencies(of row: BenchReport.Row, at y: Double) -> [String] {
        [("alone", \BenchReport.Sample.roundTrips), ("loaded", \BenchReport.Sample.roundTripsUnderLoad)].enumerated().map {
            let (name, path) = $0.element
            let median = microseconds(row.latency({ $0[keyPath: path] }, \.median))
            let p99 = microseconds(row.latency({ $0[keyPath: path] }, \.p99))
            return text(Self.latencyEnd, y + 12 + 22 * Double($0.offset), "\(name) \(median), 99 % in \(p99)", anchor: "end")
        }
    }

    private func legend(at y: Double) -> [String] {
        let names = [(Colour.near, "sending relay"), (Colour.far, "receiving relay")]
        var marks = [line(Self.margin, y - 10, Self.width - Self.margin, y - 10, Colour.line)]
        marks.append(line(Self.margin + 1, y + 2, Self.margin + 1, y + 14, Colour.possible, width: 2.5))
        marks.append(text(Self.margin + 12, y + 13, "what this host's cores allow", fill: Colour.quiet))
        for (index, name) in names.enumerated() {
            let x = Self.cpuStart + 122 * Double(index)
            marks.append(rectangle(x, y + 2, 12, 12, name.0))
            marks.append(text(x + 18, y + 13, name.1, fill: Colour.quiet))
        }
        let machine = "\(report.host.processor), \(report.host.cores) cores, Linux \(report.host.kernel), "
            + "load \(fixed(report.host.load, 2)); culvert \(report.version), \(report.date)"
        return marks + [text(Self.margin, y + 40, machine, size: 12, fill: Colour.quiet)]
    }

    // MARK: Elements

    private func text(
        _ x: Double, _ y: Double, _ words: String, size: Int? = nil, weight: Int? = nil, fill: String? = nil,
        anchor: String? = nil
    ) -> String {
        let attributes = [
            size.map { #" font-size="\#($0)""# }, weight.map { #" font-weight="\#($0)""# }, fill.map { #" fill="\#($0)""# },
            anchor.map { #" text-anchor="\#($0)""# },
        ].compactMap(\.self).joined()
        return #"<text x="\#(px(x))" y="\#(px(y))"\#(attributes)>\#(escape(words))</text>"#
    }

    private func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ fill: String, radius: Int = 3, stroke: String? = nil
    ) -> String {
        #"<rect x="\#(px(x))" y="\#(px(y))" width="\#(px(max(width, 0)))" height="\#(px(height))" rx="\#(radius)" "#
            + #"fill="\#(fill)"\#(stroke.map { #" stroke="\#($0)""# } ?? "")/>"#
    }

    private func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: String, width: Double = 1
    ) -> String {
        #"<line x1="\#(px(x1))" y1="\#(px(y1))" x2="\#(px(x2))" y2="\#(px(y2))" stroke="\#(colour)" "#
            + #"stroke-width="\#(px(width))"/>"#
    }

    private func px(_ value: Double) -> String { value == value.rounded() ? "\(Int(value))" : fixed(value, 1) }

    /// A file's name may hold anything; what XML cannot hold becomes a question mark.
    private func escape(_ words: String) -> String {
        words.unicodeScalars.map { scalar in
            switch scalar {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            case "\"": "&quot;"
            case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF: "?"
            default: String(scalar)
            }
        }.joined()
    }
}

extension BenchReport {
    /// A picture of it, complete in itself.
    public var svg: String { Chart(self).svg }
}
