@testable import CulvertProtocol

/// Arbitrary bytes, whole and cut: the same frames, or the same violation.
enum DecoderDriver {
    /// - Parameter input: a byte that says how to cut, and what arrives.
    /// - Returns: what is wrong with the decoder, nil if nothing is.
    static func run(_ input: [UInt8]) -> String? {
        guard let first = input.first else { return nil }
        let bytes = input.dropFirst()
        var cuts: [[UInt8]] = [], rest = bytes, step = Int(first)
        while !rest.isEmpty {
            step = (step &* 37 &+ 11) & 0xFF
            let count = max(1, first < 128 ? step % (Int(first) + 1) : step)
            cuts.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        let whole = outcome([Array(bytes)]), pieces = outcome(cuts)
        return whole == pieces ? nil : "whole: \(whole)\nin pieces: \(pieces)"
    }

    private static func outcome(_ ranges: [[UInt8]]) -> Result<[Frame], ProtocolViolation> {
        do { return .success(try Frame.decode(ranges)) } catch { return .failure(error) }
    }
}
