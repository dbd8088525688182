import CulvertRelay
import Testing

@testable import CulvertDaemon

@Suite struct StatusReportTests {
    @Test func reportIsATableForPeople() {
        #expect(
            StatusReport(.sample, colour: false).text == """
                relay hosta, version 0.1.0, up 1h02m, listening on 0.0.0.0:16515, 12.1 KiB buffered, \
                3 connections refused (1 say "hi"\\, 2 unknown peer)

                PEER   SESSION     AGE      RTT    LEAST  LANES  STREAMS  OPENED  RESET      SENT  RECEIVED
                hostb  00c0ffee  1m00s  0.50 ms  0.25 ms      1        2      12      3  1.00 GiB  2.00 KiB
                hostc  none          -        -        -      0        0       0      0       0 B       0 B
                hostb: spliced 512 MiB of what was sent, 1.00 KiB of what was received
                hostb: lane 4, 10.0.0.1:5000 - 10.0.0.2:16515, OpenSSL TLSv1.3 TLS_AES_256_GCM_SHA384
                hostb: compressed (auto) 3.91 KiB to 0.98 KiB
                hostc: no session: connection refused?[31m

                STREAM  PEER   SERVICE  DIRECTION  STATE               AGE      SENT        RATE  RECEIVED  RATE   UNACKED  UNDELIVERED  WINDOW OUT        IN
                     1  hostb  web1     outgoing   open, not lossless  12s  2.86 MiB  1.43 MiB/s      10 B     -  0.98 KiB         20 B    8.00 MiB  64.0 KiB
                     2  hostb  web?[2J  incoming   open                12s  2.86 MiB  1.43 MiB/s      10 B     -  0.98 KiB         20 B    8.00 MiB  64.0 KiB

                FORWARD  LISTEN              TO          ORIGIN  ACCEPTED  ACTIVE  LAST RESET
                f1       tcp:127.0.0.1:4444  hostb/web1  config         7       1  no QEMU there

                """)
    }

    @Test func nothingIsSaidOfSplicingWhereThereIsNone() {
        var status = RelayStatus.sample
        status.peers[0].splicedSent = 0
        status.peers[0].splicedReceived = 0
        status.peers[0].sessions[0].streams[0] = .sample(id: 1, service: "web1", outgoing: true)
        let text = StatusReport(status, colour: false).text
        #expect(!text.contains("spliced") && !text.contains("lossless"))
        #expect(text.contains("DIRECTION  STATE  AGE"))
    }

    @Test func whatIsLeftOfAForwardsLeaseIsShown() {
        var leased = RelayStatus.sample.forwards[0]
        (leased.id, leased.origin, leased.expires, leased.ended) = ("f12", "admin", 1_000_089.9, [])
        #expect(
            ForwardReport(RelayStatus.sample.forwards + [leased], colour: false, now: 1_000_000).text == """
                FORWARD  LISTEN              TO          ORIGIN             ACCEPTED  ACTIVE  LAST RESET
                f1       tcp:127.0.0.1:4444  hostb/web1  config                    7       1  no QEMU there
                f12      tcp:127.0.0.1:4444  hostb/web1  admin, 1m29s left         7       1

                """)
        var status = RelayStatus.sample
        status.forwards = [leased]
        #expect(StatusReport(status, colour: false, now: 1_000_100).text.contains("admin, 0s left"))
    }

    @Test func colourIsOnlyAddedOnDemand() {
        let coloured = StatusReport(.sample, colour: true).text
        #expect(coloured.contains("\u{1B}[1mPEER"))
        #expect(coloured.contains("\u{1B}[31mhostc: no session"))
        #expect(!StatusReport(.sample, colour: false).text.contains("\u{1B}"))
    }

    @Test(arguments: [
        (0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (10_230, "9.99 KiB"), (10_235, "10.0 KiB"),
        (102_400, "100 KiB"),
        (1 << 20, "1.00 MiB"), (1_022_000, "998 KiB"), (5 << 40, "5.00 TiB"), (5 << 50, "5120 TiB"),
    ])
    func bytes(count: Int, text: String) {
        #expect(HumanText.bytes(count) == text)
    }

    @Test(arguments: [(0.9, "0s"), (59, "59s"), (60, "1m00s"), (3_599, "59m59s"), (3_600, "1h00m"), (90_000, "1d01h")])
    func ages(seconds: Double, text: String) {
        #expect(HumanText.age(seconds) == text)
    }
}
