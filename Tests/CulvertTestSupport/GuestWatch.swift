import Foundation

/// What a self-verifying guest says on its serial port: a letter a pass, `a` to `z` and again, `X` for a mismatch.
public struct GuestWatch: Sendable {
    public let path: String

    public init(serial path: String) { self.path = path }

    public var text: String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

    public var passes: Int { text.count }

    /// The text is not a run of letters, each the successor of the one before.
    public var fault: String? {
        let letters = text.utf8
        for (letter, next) in zip(letters, letters.dropFirst()) where next != Self.successor(letter) {
            return "the guest wrote \(text)"
        }
        return letters.contains(UInt8(ascii: "X")) ? "the guest found a page that is not as it left it: \(text)" : nil
    }

    /// True if this guest went on where `other` stopped: no pass was lost and none done twice.
    public func continues(_ other: GuestWatch) -> Bool {
        guard let last = other.text.utf8.last, let first = text.utf8.first else { return false }
        return first == Self.successor(last)
    }

    /// Waits for so many more passes.
    public func waitForPasses(_ count: Int, limit: Duration = .seconds(30)) async throws {
        let before = passes
        try await waitUntil(limit: limit, "\(count) passes of the guest after \(before), there are \(passes)") {
            passes >= before + count
        }
    }

    private static func successor(_ letter: UInt8) -> UInt8 {
        letter == UInt8(ascii: "z") ? UInt8(ascii: "a") : letter + 1
    }
}
