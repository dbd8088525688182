import Testing

@testable import CulvertDaemon

@Suite struct UnitsTests {
    @Test(arguments: [("0B", 0), ("4096B", 4096), ("512KiB", 512 << 10), ("64MiB", 64 << 20), ("3GiB", 3 << 30)])
    func sizes(text: String, bytes: Int) throws {
        #expect(try Units.size.parse(text) == bytes)
    }

    @Test(arguments: [("0ms", 0), ("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)])
    func times(text: String, milliseconds: Int) throws {
        #expect(try Units.time.parse(text) == .milliseconds(milliseconds))
    }

    @Test(arguments: ["", "B", "-1B", "+1B", "1.5KiB", "1 KiB", "1KB", "1kib", "9223372036854775807KiB", "٣B"])
    func noSizes(text: String) {
        #expect(throws: UnitError.self) { try Units.size.parse(text) }
    }

    @Test(arguments: [0, 1, 1023, 1024, 1 << 20, (1 << 20) + 1024, 7 << 30])
    func writtenSizesReadBack(bytes: Int) throws {
        #expect(try Units.size.parse(Units.size.text(bytes)) == bytes)
    }

    @Test(arguments: [0, 1, 999, 1_000, 60_000, 61_000, 3_600_000])
    func writtenTimesReadBack(milliseconds: Int) throws {
        #expect(try Units.time.parse(Units.time.text(.milliseconds(milliseconds))) == .milliseconds(milliseconds))
    }

    @Test func spelling() {
        let known = ["listen", "name", "admin"]
        #expect(Spelling.nearest(to: "listn", among: known) == "listen")
        #expect(Spelling.nearest(to: "lsiten", among: known) == "listen")
        #expect(Spelling.nearest(to: "Name", among: known) == "name")
        #expect(Spelling.nearest(to: "port", among: known) == nil)
        #expect(Spelling.distance("ca", "abc") == 3)
    }
}
