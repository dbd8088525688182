/// Where the credentials lie, all PEM.
public struct TLSFiles: Sendable, Equatable {
    public var ca: String
    public var certificate: String
    public var key: String

    public init(ca: String, certificate: String, key: String) {
        self.ca = ca
        self.certificate = certificate
        self.key = key
    }
}

/// Loaded credentials and settings from which engines are made; immutable, so a reload makes a new one.
public final class TLSContext: Sendable {
    public init(files: TLSFiles) throws(TLSError) { fatalError("in work") }

    public func makeEngine(_ role: TLSRole) throws(TLSError) -> any TLSEngine { fatalError("in work") }
}
