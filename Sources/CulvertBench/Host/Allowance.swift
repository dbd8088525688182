/// The most that this host's cores allow a setup to carry: what would come through if the relays cost nothing but the
/// system calls and the cipher that every byte needs, and no core ever waited.
///
/// A byte's way has four threads: the sender (UNIX send), the near relay (UNIX receive, seal, TCP send), the far relay
/// (TCP receive, open, UNIX send) and the receiver (UNIX receive). Two things bound them:
/// - all cores together have so many seconds of CPU time a second;
/// - one lane keeps at most one core of its relay busy, one stream at most one core of each end.
///
/// Copying, framing and scheduling are not counted: a relay that did without would be a perfect one. With a peer on
/// another host only the sender and the near relay work here, and the link may allow less.
public struct Allowance: Sendable, Codable, Equatable {
    /// 10⁶ bytes a second.
    public var megabytesPerSecond: Double
    /// What bounds it, for people.
    public var bound: String

    /// Nil if a step of it was not measured; with compression what a byte costs depends on the byte.
    init?(_ limits: HostLimits, cores: Int, _ setup: BenchPlan.Setup, isLocal: Bool) {
        guard setup.compression == .none else { return nil }
        guard let cipher = limits.ciphers.first(where: { $0.isCipher(of: setup) }) else { return nil }
        // Seconds of CPU time a GB, and the threads that share it.
        var stages = [
            (name: "the sender", cost: limits.unix.send, threads: setup.streams),
            (name: "the sending relay", cost: limits.unix.receive + cipher.seal + limits.tcp.send, threads: setup.lanes),
        ]
        if isLocal {
            stages += [
                (name: "the receiving relay", cost: limits.tcp.receive + cipher.open + limits.unix.send, threads: setup.lanes),
                (name: "the receiver", cost: limits.unix.receive, threads: setup.streams),
            ]
        }
        let together = Double(cores) / stages.reduce(0) { $0 + $1.cost }
        let slowest = stages.map { ($0.name, Double(min($0.threads, cores)) / $0.cost, $0.threads) }.min { $0.1 < $1.1 }!
        if together <= slowest.1 {
            megabytesPerSecond = together * 1000
            bound = cores == 1 ? "the one core" : "all \(cores) cores"
        } else {
            megabytesPerSecond = slowest.1 * 1000
            bound = slowest.2 == 1 ? "one core for \(slowest.0)" : "\(min(slowest.2, cores)) cores for \(slowest.0)"
        }
    }
}
