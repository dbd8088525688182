/// The name that a migration has on both hosts: NAME in `migrate/NAME`, and so in the names of its sockets.
enum MigrationName {
    /// One that no other migration has.
    static func fresh() -> String {
        "migrate-" + (0..<12).map { _ in String("0123456789abcdef".randomElement()!) }.joined()
    }

    /// Why a relay would not take it; nil if it would.
    static func fault(in name: String) -> String? {
        guard name.isEmpty || !name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) }) else {
            return nil
        }
        return "the name '\(name)' may have letters, digits, '-' and '_' only"
    }
}
