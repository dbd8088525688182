import Foundation
import Logging
import Testing

@testable import CulvertDaemon

@Suite struct LogTests {
    /// What one event leaves behind in a real pipe.
    private func lines(_ settings: LogSettings, toJournal: Bool = false, _ body: (LogOutput) -> Void) -> [String] {
        let pipe = Pipe()
        body(
            LogOutput(
                descriptor: pipe.fileHandleForWriting.fileDescriptor, settings: settings, toJournal: toJournal,
                clock: { 1_740_830_400.0625 }))
        try? pipe.fileHandleForWriting.close()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        return text.split(separator: "\n").map(String.init)
    }

    @Test func textHasTimeLevelMessageAndSortedMetadata() {
        let found = lines(LogSettings()) { output in
            output.logger().warning(
                "stream was reset", metadata: ["stream": "5", "peer": "hostb", "why": "no way", "x": ""])
        }
        #expect(
            found == [#"2025-03-01T12:00:00.062Z warning stream was reset peer=hostb stream=5 why="no way" x="""#])
    }

    @Test func jsonIsOneObjectALine() throws {
        let found = lines(LogSettings(format: .json)) { output in
            var logger = output.logger()
            logger[metadataKey: "peer"] = "hostb"
            logger.error("say \"hi\"\n\u{7F}", metadata: ["stream": "5", "time": "mine"])
        }
        #expect(found.count == 1)
        let object = try JSONSerialization.jsonObject(with: Data(found[0].utf8)) as? [String: String]
        #expect(
            object == [
                "time": "2025-03-01T12:00:00.062Z", "level": "error", "message": "say \"hi\"\n\u{7F}", "peer": "hostb",
                "stream": "5", "_time": "mine",
            ])
    }

    @Test func journalGetsPrioritiesAndNoTime() {
        let found = lines(LogSettings(), toJournal: true) { output in
            output.logger().error("a")
            output.logger().notice("b", metadata: ["peer": "hostb"])
            output.logger().info("c")
        }
        #expect(found == ["<3>a", "<5>b peer=hostb", "<6>c"])
    }

    @Test func oneEventStaysOneLineWhateverPeersSay() {
        let found = lines(LogSettings()) { output in
            output.logger().info("evil\n2025 info forged\u{1B}[2J", metadata: ["text": "a\nb\u{9B}"])
        }
        #expect(found == [#"2025-03-01T12:00:00.062Z info evil\n2025 info forged\u001b[2J text="a\nb\u009b""#])
    }

    @Test func levelChangesForLoggersInUse() {
        let found = lines(LogSettings(level: .info)) { output in
            let logger = output.logger()
            logger.debug("hidden")
            output.settings = LogSettings(level: .debug)
            logger.debug("shown")
            output.settings = LogSettings(level: .error, format: .json)
            logger.warning("hidden")
        }
        #expect(found == ["2025-03-01T12:00:00.062Z debug shown"])
    }

    @Test func linesOfManyThreadsStayWhole() async {
        let found = lines(LogSettings()) { output in
            DispatchQueue.concurrentPerform(iterations: 8) { thread in
                for _ in 0..<20 { output.logger().info("\(String(repeating: "\(thread)", count: 40))") }
            }
        }
        #expect(found.count == 160)
        #expect(found.allSatisfy { Set($0.suffix(40)).count == 1 && $0.count == 70 })
    }
}
