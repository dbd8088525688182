@testable import CulvertBench

/// A report with two rows whose figures are known, one of them without all that may be missing.
func sampleReport(data: String = "random") -> BenchReport {
    let limits = HostLimits(
        copy: 0.05, framing: .init(send: 0.03, receive: 0.04), unix: .init(send: 0.1, receive: 0.1, megabytesPerSecond: 8000),
        tcp: .init(send: 0.1, receive: 0.1, megabytesPerSecond: 8000),
        ciphers: [.init(sealer: "OpenSSL", cipher: .aes256, seal: 0.3, open: 0.3)])
    func sample(seconds: Double, relay: Double?) -> BenchReport.Sample {
        BenchReport.Sample(
            bytes: 2_000_000_000, seconds: seconds, sendingRelay: relay, receivingRelay: relay,
            roundTrips: RoundTrips([50e-6]), roundTripsUnderLoad: RoundTrips([250e-6]))
    }
    var plan = BenchPlan(place: .local(program: "culvert"), setups: [])
    plan.data = .file(data)
    return BenchReport(
        plan, HostFacts(processor: "Abacus & Sons", cores: 2, kernel: "6.1", load: 0.25), limits,
        [
            (.init(), [sample(seconds: 2, relay: 0.6), sample(seconds: 4, relay: 0.5), sample(seconds: 1, relay: 0.7)]),
            (.init(backend: .gnutls, lanes: 2, streams: 4), [sample(seconds: 2.5, relay: nil)]),
        ])
}
