import Foundation
import FoundationXML
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

/// What a parser of XML finds in a picture.
private final class Drawing: NSObject, XMLParserDelegate {
    struct Box { var x, y, width, height: Double }
    private(set) var width = 0.0, height = 0.0
    private(set) var boxes: [Box] = []
    private(set) var words: [String] = []
    private var current: String?

    init(_ svg: String) throws {
        super.init()
        let parser = XMLParser(data: Data(svg.utf8))
        parser.delegate = self
        try #require(parser.parse(), "\(parser.parserError.map { "\($0)" } ?? "")")
    }

    func parser(
        _ parser: XMLParser, didStartElement element: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        func number(_ name: String) -> Double { attributes[name].flatMap(Double.init) ?? .nan }
        switch element {
        case "svg": (width, height) = (number("width"), number("height"))
        case "rect":
            boxes.append(Box(x: number("x"), y: number("y"), width: number("width"), height: number("height")))
        case "text": current = ""
        default: break
        }
    }

    func parser(_ parser: XMLParser, foundCharacters characters: String) { current? += characters }

    func parser(_ parser: XMLParser, didEndElement element: String, namespaceURI: String?, qualifiedName: String?) {
        guard element == "text", let current else { return }
        words.append(current)
        self.current = nil
    }
}
