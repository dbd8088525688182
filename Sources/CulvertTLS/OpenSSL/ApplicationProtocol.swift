import COpenSSL

/// ALPN `culvert/1` (RFC 7301), without which neither side talks to the other.
enum ApplicationProtocol {
    static let name = "culvert/1"

    /// The name behind its length, as ALPN lists it.
    private static let list = [UInt8(name.utf8.count)] + Array(name.utf8)

    /// True if OpenSSL took it.
    static func require(in context: OpaquePointer) -> Bool {
        SSL_CTX_set_alpn_select_cb(context, select, nil)
        SSL_CTX_set_client_hello_cb(context, refuseWithout, nil)
        return SSL_CTX_set_alpn_protos(context, list, UInt32(list.count)) == 0
    }

    static func isAgreed(on ssl: OpaquePointer) -> Bool {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &start, &count)
        return UnsafeBufferPointer(start: start, count: Int(count)).elementsEqual(name.utf8)
    }

    /// As server: our protocol if the client lists it, else the alert no_application_protocol.
    private static let select: SSL_CTX_alpn_select_cb_func = { _, chosen, length, offered, count, _ in
        var index = 0
        let offered = UnsafeBufferPointer(start: offered, count: Int(count))
        while index < offered.count {
            let end = index + 1 + Int(offered[index])
            guard end <= offered.count else { break }
            if offered[index + 1 ..< end].elementsEqual(name.utf8) {
                chosen?.pointee = offered.baseAddress! + index + 1
                length?.pointee = UInt8(end - index - 1)
                return SSL_TLSEXT_ERR_OK
            }
            index = end
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }

    /// As server: OpenSSL would let a client pass that sends no ALPN at all.
    private static let refuseWithout: SSL_client_hello_cb_fn = { ssl, alert, _ in
        var start: UnsafePointer<UInt8>?
        var count = 0
        let hasALPN = SSL_client_hello_get0_ext(
            ssl, UInt32(TLSEXT_TYPE_application_layer_protocol_negotiation), &start, &count) == 1
        guard !hasALPN, offersTLS13(ssl) else { return SSL_CLIENT_HELLO_SUCCESS }
        alert?.pointee = SSL_AD_NO_APPLICATION_PROTOCOL
        return SSL_CLIENT_HELLO_ERROR
    }

    /// A client without TLS 1.3 hears of its version, which explains more than a missing ALPN.
    private static func offersTLS13(_ ssl: OpaquePointer?) -> Bool {
        var start: UnsafePointer<UInt8>?
        var count = 0
        guard SSL_client_hello_get0_ext(ssl, UInt32(TLSEXT_TYPE_supported_versions), &start, &count) == 1 else {
            return false
        }
        // One byte of length, then versions of two bytes each (RFC 8446, 4.2.1).
        let versions = UnsafeBufferPointer(start: start, count: count).dropFirst()
        return stride(from: versions.startIndex, to: versions.endIndex - 1, by: 2)
            .contains { versions[$0] == 3 && versions[$0 + 1] == 4 }
    }
}
