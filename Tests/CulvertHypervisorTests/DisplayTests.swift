import Synchronization
import Testing

@testable import CulvertHypervisor

struct DisplayTests {
    private let progress = MigrationProgress(
        stage: .precopy, transferred: 3 << 30, remaining: 1 << 30, total: 4 << 30, rate: Double(312 << 20),
        dirtyRate: Double(34 << 20), pass: 2, elapsed: 12, eta: 9)
    private let summary = MigrationSummary(
        totalTime: 4.2, pause: 0.041, downtime: 0.036, bytes: 1_395_864_371, averageRate: 332_000_000, passes: 2,
        postcopy: false, sourceState: "postmigrate", destinationState: "running", sourceQuit: false)

    private final class Screen: Sendable {
        private let written = Mutex("")
        var text: String { written.withLock { $0 } }
        func write(_ text: String) { written.withLock { $0 += text } }
    }

    private func shown(_ style: MigrationDisplay.Style, _ events: [MigrationEvent]) -> String {
        let screen = Screen()
        let display = MigrationDisplay(style: style, destination: "hostb", write: screen.write)
        for event in events { display.show(event) }
        return screen.text
    }

    @Test func drawsEverythingWhereThereIsRoom() {
        #expect(
            ProgressLine.bar(progress, width: 132)
                == "precopy [##############################----------]   75 %   312 MiB/s  left  1.0 GiB  ETA  0:09  "
                + "dirty 34.0 MiB/s  pass 2")
    }

    @Test(arguments: 1...200) func fitsEveryWidth(width: Int) {
        var progress = progress
        for stage in [MigrationStage.precopy, .switchover, .postcopy] {
            progress.stage = stage
            #expect(ProgressLine.bar(progress, width: width).count < max(width, 1))
        }
    }

    @Test func keepsTheMostTellingFiguresInANarrowTerminal() {
        let line = ProgressLine.bar(progress, width: 60)
        #expect(line.contains("75 %") && line.contains("left") && line.contains("MiB/s"))
        #expect(!line.contains("dirty"))
    }

    @Test func admitsThatItCannotTell() {
        var progress = progress
        progress.eta = nil
        #expect(ProgressLine.plain(progress) == "precopy: 75 %, 312 MiB/s, 1.0 GiB left, 34.0 MiB/s dirtied, pass 2, ETA ?")
    }

    @Test func redrawsInPlaceAndLeavesNoRest() {
        let text = shown(.bar, [.stage(.connecting), .progress(progress), .summary(summary)])
        #expect(text.hasPrefix("\rconnecting…\u{1B}[K\rprecopy ["))
        #expect(
            text.hasSuffix(
                """
                \r\u{1B}[KThe guest has moved to hostb in 4.2 s.
                  stood still for 41 ms, downtime as QEMU counts it 36 ms
                  sent 1.3 GiB in 2 passes, 317 MiB/s on average
                  destination QEMU: running; source QEMU: postmigrate

                """))
    }

    @Test func writesALineEveryFiveSecondsWithoutATerminal() {
        var progress = progress
        let events = (0...60).map { step in
            progress.elapsed = Double(step) / 5
            return MigrationEvent.progress(progress)
        }
        #expect(shown(.lines, events).split(separator: "\n").count == 3)
        #expect(!shown(.lines, events).contains("\u{1B}"))
    }

    @Test func writesAnObjectALine() {
        let text = shown(.json, [.stage(.precopy), .progress(progress), .notice("n"), .summary(summary)])
        let lines = text.split(separator: "\n")
        #expect(lines.count == 4)
        #expect(lines[0] == #"{"event":"stage","stage":"precopy"}"#)
        #expect(lines[1].contains(#""percent":75"#) && lines[1].contains(#""remaining":1073741824"#))
        #expect(lines[3].contains(#""destinationState":"running""#) && lines[3].contains(#""event":"summary""#))
    }

    @Test func writesNothingWhenQuiet() {
        #expect(shown(.quiet, [.stage(.precopy), .notice("n"), .summary(summary)]).isEmpty)
    }

    @Test(arguments: [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_063, "1023 KiB"), (1_048_064, "1.0 MiB"), (5 << 30, "5.0 GiB"),
        (200 << 30, "200 GiB"),
    ])
    func writesSizes(bytes: Int, text: String) {
        #expect(HumanText.bytes(Double(bytes)) == text)
    }

    @Test(arguments: [
        (0.0004, "0 ms"), (0.041, "41 ms"), (0.9996, "1 s"), (4.26, "4.3 s"), (59.96, "1 min"), (185, "3 min 5 s"),
        (7380, "2 h 3 min"),
    ])
    func writesTimes(seconds: Double, text: String) {
        #expect(HumanText.time(.seconds(seconds)) == text)
    }
}
