import COpenSSL

/// Catches the application traffic secrets of a handshake, which OpenSSL tells only its key log.
struct KeyLog {
    private(set) var client: TrafficSecret?
    private(set) var server: TrafficSecret?

    /// - Parameter line: `LABEL CLIENT_RANDOM SECRET`, the latter two in hexadecimal
    ///   (https://www.ietf.org/archive/id/draft-ietf-tls-keylogfile-02.html).
    mutating func note(_ line: UnsafeBufferPointer<UInt8>, suite: CipherSuite) {
        func has(_ label: StaticString) -> Bool {
            line.starts(with: UnsafeBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount))
        }
        if has("CLIENT_TRAFFIC_SECRET_0 ") { client = Self.secret(line, suite) }
        if has("SERVER_TRAFFIC_SECRET_0 ") { server = Self.secret(line, suite) }
    }

    private static func secret(_ line: UnsafeBufferPointer<UInt8>, _ suite: CipherSuite) -> TrafficSecret? {
        guard let space = line.lastIndex(of: UInt8(ascii: " ")) else { return nil }
        let digits = line[(space + 1)...]
        guard digits.count == 2 * suite.digestLength, digits.allSatisfy({ digit($0) != nil }) else { return nil }
        return TrafficSecret(suite, OpenSSLCryptography.self) { bytes in
            for index in 0 ..< bytes.count {
                let place = digits.startIndex + 2 * index
                bytes[index] = digit(digits[place])! << 4 | digit(digits[place + 1])!
            }
        }
    }

    private static func digit(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "0") ... UInt8(ascii: "9"): character - UInt8(ascii: "0")
        case UInt8(ascii: "a") ... UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A") ... UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
