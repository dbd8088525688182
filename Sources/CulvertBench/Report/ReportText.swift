import CulvertDaemon

extension BenchReport {
    /// Tables for people. MB and GB are powers of ten.
    public var text: String {
        """
        \(host.processor), \(host.cores) core\(host.cores == 1 ? "" : "s"), Linux \(host.kernel), load \(fixed(host.load, 2)), \
        culvert \(version), \(date)

        This host alone, each step on one core:
        \(stages)
        \(conditions)
        \(results)
        \(latencies)
        \(verdicts)

        """
    }

    private var stages: String {
        var table = TextTable([("STEP", .left), ("CPU s/GB", .right), ("GB/s", .right)])
        func add(_ name: String, _ cost: Double) { table.add([name, fixed(cost, 3), fixed(1 / cost, 2)]) }
        add("memory copy", limits.copy)
        add("frames, make", limits.framing.send)
        add("frames, take apart", limits.framing.receive)
        add("UNIX socket, send", limits.unix.send)
        add("UNIX socket, receive", limits.unix.receive)
        add("TCP loopback, send", limits.tcp.send)
        add("TCP loopback, receive", limits.tcp.receive)
        for cipher in limits.ciphers {
            add("\(cipher.sealer) \(cipher.cipher.name), seal", cipher.seal)
            add("\(cipher.sealer) \(cipher.cipher.name), open", cipher.open)
        }
        return table.text { $0 }
    }

    private var results: String {
        var table = TextTable([
            ("THROUGH", .left), ("MB/s", .right), ("", .left), ("OF POSSIBLE", .right), ("CPU s/GB", .right),
            ("SENDING RELAY", .left), ("CPU s/GB", .right), ("RECEIVING RELAY", .left),
        ])
        func cells(_ summary: Summary?, _ digits: Int) -> [String] {
            guard let summary else { return ["-", ""] }
            return [fixed(summary.median, digits), "(\(fixed(summary.least, digits)) to \(fixed(summary.most, digits)))"]
        }
        for row in rows {
            table.add(
                [row.setup.label] + cells(row.megabytesPerSecond, 0) + [row.share.map { "\(fixed($0 * 100, 0)) %" } ?? "-"]
                    + cells(row.sendingRelay, 2) + cells(row.receivingRelay, 2))
        }
        return table.text { $0 }
    }

    private var latencies: String {
        var table = TextTable([
            ("64 BYTES THERE AND BACK", .left), ("ALONE", .right), ("99 % WITHIN", .right), ("BESIDE THE STREAMS", .right),
            ("99 % WITHIN", .right),
        ])
        for row in rows {
            let figures = [
                row.latency(\.roundTrips, \.median), row.latency(\.roundTrips, \.p99),
                row.latency(\.roundTripsUnderLoad, \.median), row.latency(\.roundTripsUnderLoad, \.p99),
            ]
            table.add([row.setup.label] + figures.map(microseconds))
        }
        return table.text { $0 }
    }

    private var verdicts: String {
        var lines = rows.map { "\($0.setup.label): \($0.verdict)" }
        if host.isBusy {
            lines.append(
                "This host had other work (load \(fixed(host.load, 1))): of all this, only the CPU time is worth much. "
                    + "Measure again when it is quiet.")
        }
        return lines.joined(separator: "\n")
    }
}

extension BenchReport.Row {
    /// `934 MB/s, 62 % of the 1.5 GB/s that …`.
    var verdict: String {
        let speed = "\(fixed(megabytesPerSecond.median, 0)) MB/s"
        guard let possible, let share else { return speed }
        return "\(speed), \(fixed(share * 100, 0)) % of the \(fixed(possible.megabytesPerSecond / 1000, 2)) GB/s that this host "
            + "allows (bound by \(possible.bound))"
    }
}

/// In the unit that suits it.
func microseconds(_ value: Double) -> String {
    switch value {
    case ..<100: "\(fixed(value, 1)) µs"
    case ..<10_000: "\(fixed(value, 0)) µs"
    default: "\(fixed(value / 1000, 1)) ms"
    }
}
