import COpenSSL

@testable import CulvertTLS

/// A peer on bare OpenSSL that the test may configure to be what an engine never is.
final class RawPeer {
    let ssl: OpaquePointer
    private let context: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer

    /// Shows the certificate of `files` unless nil; believes every certificate.
    init(_ role: TLSRole, files: TLSFiles?, configure: (OpaquePointer) -> Void = { _ in }) {
        context = SSL_CTX_new(TLS_method())
        if let files {
            SSL_CTX_use_certificate_chain_file(context, files.certificate)
            SSL_CTX_use_PrivateKey_file(context, files.key, SSL_FILETYPE_PEM)
        }
        if role == .server { SSL_CTX_set_verify(context, SSL_VERIFY_PEER, { _, _ in 1 }) }
        configure(context)
        ssl = SSL_new(context)
        input = BIO_new(BIO_s_mem())
        output = BIO_new(BIO_s_mem())
        SSL_set_bio(ssl, input, output)
        if role == .client { SSL_set_connect_state(ssl) } else { SSL_set_accept_state(ssl) }
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
    }

    /// Lists `name` as the only ALPN protocol.
    static func offer(_ name: String) -> (OpaquePointer) -> Void {
        { context in
            let list = [UInt8(name.utf8.count)] + Array(name.utf8)
            SSL_CTX_set_alpn_protos(context, list, UInt32(list.count))
        }
    }

    /// As server: agrees to whatever the client lists first.
    static let agree: @Sendable (OpaquePointer) -> Void = { context in
        SSL_CTX_set_alpn_select_cb(
            context,
            { _, chosen, length, offered, _, _ in
                chosen?.pointee = offered! + 1
                length?.pointee = offered![0]
                return SSL_TLSEXT_ERR_OK
            }, nil)
    }

    func feed(_ bytes: [UInt8]) { if !bytes.isEmpty { BIO_write(input, bytes, Int32(bytes.count)) } }

    func takeOutput() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: BIO_ctrl_pending(output))
        if !buffer.isEmpty { BIO_read(output, &buffer, Int32(buffer.count)) }
        return buffer
    }

    /// Handshakes with `engine` until neither moves; what the engine threw, in its handshake or when it first tried to read.
    func meet(_ engine: any TLSEngine) -> TLSError? {
        var toEngine: [UInt8] = []
        var failure: TLSError?
        for _ in 0 ..< 10 {
            ERR_clear_error()
            advance()
            toEngine += takeOutput()
            do {
                if failure == nil, try engine.handshake(taking: &toEngine) { _ = try engine.open(&toEngine) }
            } catch {
                failure = error as? TLSError
            }
            feed(engine.output())
        }
        return failure
    }

    /// The alert that the engine sent, if it was fatal.
    private(set) var alert: Int32?
    private(set) var received: [UInt8] = []
    private(set) var ended = false

    /// Handshake, then read.
    func advance() {
        var result = SSL_do_handshake(ssl)
        while result == 1 {
            var buffer = [UInt8](repeating: 0, count: 16_384)
            var count = 0
            result = SSL_read_ex(ssl, &buffer, buffer.count, &count)
            received += buffer[..<count]
        }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_ZERO_RETURN: ended = true
        case SSL_ERROR_SSL:
            let reason = ERR_GET_REASON(ERR_get_error())
            if reason >= SSL_AD_REASON_OFFSET { alert = alert ?? reason - SSL_AD_REASON_OFFSET }
        default: break
        }
    }

    func send(_ bytes: [UInt8]) { SSL_write(ssl, bytes, Int32(bytes.count)) }

    var isConnected: Bool { SSL_is_init_finished(ssl) == 1 }
}
