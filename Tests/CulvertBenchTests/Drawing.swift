import Foundation
import FoundationXML
import Testing

/// What a parser of XML finds in a picture.
final class Drawing: NSObject, XMLParserDelegate {
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
