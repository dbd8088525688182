import Foundation
import Testing

@testable import CulvertBench

@Suite struct ReportTests {
    @Test func theTextSaysHowMuchOfWhatIsPossible() {
        let text = sampleReport().text
        #expect(text.contains("1000 MB/s, 60 % of the 1.67 GB/s that this host allows (bound by all 2 cores)"))
        #expect(text.contains("GnuTLS AES-256-GCM, 2 lanes, 4 streams: 800 MB/s"))
        #expect(text.contains("(500 to 2000)"))
        #expect(!text.contains("nan"))
        #expect(!text.contains("other work"))
    }

    @Test func aBusyHostIsNotPassedOver() {
        var report = sampleReport()
        report.host.load = 1.5
        #expect(report.text.contains("This host had other work (load 1.5)"))
    }

    @Test func theJSONHoldsEveryRunAndReadsBack() throws {
        let report = sampleReport()
        let json = try JSONEncoder().encode(report)
        #expect(try JSONDecoder().decode(BenchReport.self, from: json) == report)
        let object = try #require(JSONSerialization.jsonObject(with: json) as? [String: Any])
        let rows = try #require(object["rows"] as? [[String: Any]])
        #expect(rows.count == 2)
        #expect((rows[0]["samples"] as? [Any])?.count == 3)
        #expect((rows[0]["megabytesPerSecond"] as? [String: Double]) == ["median": 1000, "least": 500, "most": 2000])
        #expect((rows[0]["setup"] as? [String: Any])?["backend"] as? String == "openssl")
        #expect(rows[1]["possible"] == nil)
    }

    @Test func thePictureIsWellFormedWhateverTheFileIsCalled() throws {
        let name = "/tmp/a<b>&\"c\"\u{1}\u{1B}é.stream"
        let drawing = try Drawing(sampleReport(data: name).svg)
        #expect(drawing.words.contains { $0.contains("a<b>&\"c\"??é.stream") })
        #expect(drawing.words.contains { $0.contains("Abacus & Sons") })
        #expect(drawing.words.contains { $0.contains("1000 (500 to 2000), 60 % of the possible 1667") })
        #expect(drawing.words.contains("not known"))
    }

    @Test func nothingIsDrawnBesideThePicture() throws {
        let drawing = try Drawing(sampleReport().svg)
        #expect(drawing.boxes.count > 6)
        for box in drawing.boxes {
            #expect(box.x >= 0 && box.x + box.width <= drawing.width)
            #expect(box.y >= 0 && box.y + box.height <= drawing.height)
        }
    }
}
