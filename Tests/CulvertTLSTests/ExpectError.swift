import Testing

@testable import CulvertTLS

/// Expects an error with `code` whose text contains every one of `parts`.
func expectError(
    _ error: TLSError?, _ code: TLSError.Code, _ parts: [String], at location: SourceLocation = #_sourceLocation
) {
    let text = error?.description ?? "no error"
    #expect(error?.code == code, "\(text)", sourceLocation: location)
    for part in parts where !text.contains(part) {
        Issue.record("'\(text)' lacks '\(part)'", sourceLocation: location)
    }
}
