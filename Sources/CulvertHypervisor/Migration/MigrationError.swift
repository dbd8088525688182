/// A migration that did not succeed: why, and where the guest is now.
public struct MigrationError: Error, Sendable, Equatable {
    /// Where the guest was left.
    public enum Guest: String, Sendable, Encodable {
        /// Nothing was begun.
        case untouched
        /// It runs, or is paused as it was before, at the source.
        case source
        /// It runs, or is paused as it was before, at the destination.
        case destination
        /// It runs at the destination without all of its memory, and both QEMUs wait to go on.
        case split
        /// It is stopped and nobody may start it without looking.
        case stopped
        /// It was not heard of again.
        case unknown
    }

    /// One clause; the cause, not the symptom.
    public var cause: String
    public var guest: Guest
    /// Where the guest is in words, and what to do if something must be done.
    public var outcome: String
    /// What else was seen, the least telling last.
    public var details: [String] = []
}

extension MigrationError: CustomStringConvertible, Encodable {
    public var description: String {
        let details = details.isEmpty ? "" : " (\(details.joined(separator: "; ")))"
        return "migration failed: \(cause)\(details); \(outcome)"
    }

    private enum CodingKeys: String, CodingKey { case cause, guest, outcome, details, text }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(cause, forKey: .cause)
        try container.encode(guest, forKey: .guest)
        try container.encode(outcome, forKey: .outcome)
        try container.encode(details, forKey: .details)
        try container.encode(description, forKey: .text)
    }
}
