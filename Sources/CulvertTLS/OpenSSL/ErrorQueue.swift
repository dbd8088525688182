import COpenSSL

/// OpenSSL's per-thread queue of errors.
///
/// A stale entry makes `SSL_get_error` blame an innocent call, so every call into libssl starts with `clear`.
enum ErrorQueue {
    struct Entry {
        var library: Int32
        var reason: Int32
        /// OpenSSL's words for the reason.
        var text: String
    }

    static func clear() { ERR_clear_error() }

    /// Empties the queue and returns its oldest entry, which is the cause of those after it.
    static func take() -> Entry? {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return nil }
        let reason = ERR_GET_REASON(code)
        let text = ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(reason)"
        return Entry(library: ERR_GET_LIB(code), reason: reason, text: text)
    }

    static func takeText() -> String { take()?.text ?? "no reason given" }
}
