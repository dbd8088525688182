import Logging

/// What is wrong with how the streams of one seed went. Every byte was delivered, in order, or both relays have said that
/// the stream was reset, and why; nothing else is right.
struct FaultVerdict {
    private(set) var faults: [String] = []
    /// Streams that were cut.
    private(set) var cut = 0

    /// - Parameters:
    ///   - sides: by route, whose clients use it.
    ///   - isHarmless: nothing that happened may cost a stream.
    init(_ streams: [FaultTraffic.Stream], sides: [Side], names: [String], journal: [Journal.Entry], isHarmless: Bool) {
        for entry in journal where entry.showsABug { faults.append("\(entry)") }
        for stream in streams {
            let reports = Side.allCases.filter { side in
                journal.contains { $0.relay == "\(side)" && $0.saysWhyItEnded(names[stream.route]) }
            }
            judge(stream, near: sides[stream.route], resetBy: reports, isHarmless: isHarmless)
        }
    }

    private mutating func judge(_ stream: FaultTraffic.Stream, near: Side, resetBy reports: [Side], isHarmless: Bool) {
        func fault(_ text: String) { faults.append("\(text) (\(near) is near, resets said by \(reports)): \(stream)") }
        let client = stream.client, server = stream.server
        for (end, other) in [(client, server), (server, client)] as [(TrafficEnd?, TrafficEnd?)] {
            guard let end else { continue }
            if end.corrupted != nil || end.heard > other?.said ?? 0 { fault("wrong bytes") }
        }
        let isWhole = server.map { Self.isWhole(client, $0) && Self.isWhole($0, client) } ?? false
        guard !isWhole else { return }
        cut += 1
        if stream.plan.hasQuitter {
            // Who is left may be cut short too, but never without a word.
            for (end, other, side) in [(client, server, near), (server, client, near.other)] as [(TrafficEnd?, TrafficEnd?, Side)] {
                guard let end, !end.hasQuit, end.heard < other?.said ?? 0, !reports.contains(side) else { continue }
                fault("cut without a word")
            }
        } else {
            if isHarmless { fault("cut for nothing") }
            if !reports.contains(near) || server != nil && !reports.contains(near.other) { fault("cut, and a relay says nothing") }
        }
    }

    /// All that `speaker` had to say was heard, with its end.
    private static func isWhole(_ speaker: TrafficEnd, _ hearer: TrafficEnd) -> Bool {
        speaker.silence == 0 && hearer.hearing == .ended && hearer.heard == speaker.said
    }
}

extension Journal.Entry {
    /// Two correct relays never break the protocol, whatever happens to the bytes between them.
    fileprivate var showsABug: Bool {
        message.contains("broke the protocol") || message.contains("internal-error")
            || message.contains("shown out") && !message.contains("knows no session")
    }

    /// A stream of this service was reset, or a connection for it was refused.
    fileprivate func saysWhyItEnded(_ service: String) -> Bool {
        guard level == .warning else { return false }
        if metadata["service"] == "\(service)" { return message.contains(/stream reset by .*: [a-z-]+: ./) }
        return message.contains("-\(service) closed: ")
    }
}
