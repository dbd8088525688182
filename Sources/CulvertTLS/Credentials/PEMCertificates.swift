extension Certificate {
    /// Every certificate in a PEM file, in its order; at least one.
    public static func read(_ path: String) throws(TLSError) -> [Certificate] {
        try CredentialFile(.certificate, path).certificates()
    }
}
