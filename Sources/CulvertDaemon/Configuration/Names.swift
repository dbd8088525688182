import CulvertIO
import Foundation

/// What relays, peers and services may be called. Names stand in paths, logs and tables, so they are plain.
enum Names {
    /// For what relays offer each other themselves.
    static let reservedService = "culvert"
    static let longest = 128
    static let longestTemplateName = 64

    /// What is wrong with a name, to be put behind it; nil if nothing is.
    static func fault(in name: String) -> String? {
        guard !name.isEmpty else { return "is empty" }
        guard name.utf8.count <= longest else { return "is longer than \(longest) characters" }
        guard name.utf8.allSatisfy(isPlain) else {
            return "has characters other than letters, digits, '.', '_' and '-'"
        }
        guard !name.hasPrefix(".") else { return "begins with a dot" }
        return nil
    }

    /// What is wrong with `SERVICE` or `SERVICE/NAME`; nil if nothing is.
    static func serviceFault(in service: String) -> String? {
        let parts = service.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2 else { return "it has more parts than PEER/SERVICE/NAME" }
        if let fault = fault(in: parts[0]) { return "the service's name \(fault)" }
        guard parts.count == 2, !isTemplateName(parts[1]) else { return nil }
        return "NAME has 1 to \(longestTemplateName) letters, digits, '-' or '_'"
    }

    /// What the far relay puts in the place of `{name}`: neither slash nor dot, so it leads nowhere but to a sibling.
    private static func isTemplateName(_ text: String) -> Bool {
        (1...longestTemplateName).contains(text.utf8.count)
            && text.utf8.allSatisfy { isPlain($0) && $0 != UInt8(ascii: ".") }
    }

    /// What is wrong with the DNS name of a certificate; nil if nothing is.
    static func identityFault(in name: String) -> String? {
        if name.contains("*") { return "is a wildcard; a peer's certificate must carry one definite DNS name" }
        return fault(in: name)
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

/// The `{name}` of a service's UNIX path.
enum PathTemplate {
    private static let placeholder = "{name}"
    /// Length of a UUID, the longest kind of name in common use.
    static let usualName = 36

    /// What is wrong with the braces in a path; nil if nothing is.
    static func fault(in path: String) -> String? {
        let pieces = path.components(separatedBy: placeholder)
        guard !pieces.contains(where: { $0.contains("{") || $0.contains("}") }) else {
            return "braces stand only around {name}"
        }
        guard pieces.count <= 2 else { return "{name} may stand there once only" }
        if pieces.count == 2, pieces[1].contains("/") { return "{name} must be in the last part of the path" }
        return nil
    }

    /// Bytes that NAME may take before the path is too long for the kernel; nil without a placeholder.
    static func room(in path: String) -> Int? {
        guard path.contains(placeholder) else { return nil }
        return Endpoint.longestUnixPath - (path.utf8.count - placeholder.utf8.count)
    }
}

/// Permission bits as people write them.
enum FileMode {
    /// Three octal digits, optionally with a 0 before them.
    static func parse(_ text: String) -> UInt32? {
        let digits = text.count == 4 && text.hasPrefix("0") ? text.dropFirst() : text[...]
        guard digits.count == 3 else { return nil }
        return UInt32(digits, radix: 8)
    }
}
