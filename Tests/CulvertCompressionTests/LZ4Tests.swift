import Testing

@testable import CulvertCompression

@Suite struct LZ4Tests {
    private let lz4 = LZ4()

    private func compress(_ plain: [UInt8], room: Int) -> [UInt8]? {
        var block = [UInt8](repeating: 0, count: room)
        let count = plain.withUnsafeBytes { plain in
            block.withUnsafeMutableBytes { lz4.compress(plain, into: $0) }
        }
        return count.map { Array(block[..<$0]) }
    }

    private func decompress(_ block: [UInt8], _ count: Int) -> [UInt8]? {
        var plain = [UInt8](repeating: 0xEE, count: count)
        let isSound = block.withUnsafeBytes { block in
            plain.withUnsafeMutableBytes { lz4.decompress(block, into: $0) }
        }
        return isSound ? plain : nil
    }

    @Test(arguments: [1, 12, 13, 1000, 65_512, 65_536])
    func givesBackWhatItTook(count: Int) throws {
        for plain in [[UInt8](repeating: 0, count: count), (0..<count).map { UInt8(truncatingIfNeeded: $0 / 7) }] {
            let block = try #require(compress(plain, room: count + 100))
            #expect(decompress(block, count) == plain)
        }
    }

    @Test func givesUpWhatDoesNotShrink() {
        var random = SystemRandomNumberGenerator()
        let noise = (0..<65_536).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        #expect(compress(noise, room: 65_536 / 16 * 15) == nil)
    }

    /// A block can promise anything.
    @Test func refusesBlocksThatLie() throws {
        let plain = [UInt8](repeating: 7, count: 60_000), block = try #require(compress(plain, room: 60_000))
        #expect(decompress(block, 59_999) == nil && decompress(block, 60_001) == nil && decompress(block, 0) == nil)
        #expect(decompress(Array(block.dropLast()), 60_000) == nil)
        #expect(decompress([], 100) == nil)
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            var broken = block
            broken[Int.random(in: 0..<broken.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            // Sound by chance or not: it stays in its place, which the sanitizers watch.
            _ = decompress(broken, 60_000)
        }
    }
}
