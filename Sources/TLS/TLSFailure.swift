import COpenSSL

/// Why a TLS connection ended before its time. Trivial: copying it costs nothing, its text is made on demand.
public struct TLSFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// What went wrong, for counters, response flags and decisions.
    public enum Kind: UInt8, Equatable, Sendable, CaseIterable {
        /// The peer sent something that is no TLS, or breaks it.
        case malformed
        /// The first bytes were a plain HTTP request. The driver may answer 400 in clear.
        case plainHTTP
        /// No version of TLS that both sides allow.
        case version
        /// No cipher, group or signature algorithm that both sides allow.
        case noCommonCipher
        /// No application protocol (ALPN) that both sides speak.
        case noCommonProtocol
        /// The client asked for a name that no certificate covers, and there is no default.
        case unknownServerName
        /// The peer's certificate did not pass; `detail` is the X.509 error.
        case certificateRefused
        /// The peer's chain is good, but its leaf has none of the names the rule demands.
        case requiredNameMissing
        /// A client certificate is required and none came.
        case certificateMissing
        /// The peer ended with a fatal alert; `detail` is its number (RFC 8446 §6).
        case peerAlert
        /// The peer closed the transport without close_notify: what came may be incomplete.
        case truncated
        /// The handshake took more bytes than allowed.
        case handshakeTooLarge
        /// Too many bytes of protocol without one of data.
        case controlFlood
        /// Something failed on our side (memory, randomness, a wrong call).
        case ours
    }

    /// What went wrong.
    public let kind: Kind
    /// An alert's number or an X.509 error; 0 otherwise.
    public let detail: Int32
    /// OpenSSL's packed error code, 0 if there is none.
    public let code: UInt32

    init(_ kind: Kind, detail: Int32 = 0, code: UInt32 = 0) {
        self.kind = kind
        self.detail = detail
        self.code = code
    }

    /// One line for logs and errors: our words, then OpenSSL's reason.
    public var description: String {
        switch kind {
        case .certificateRefused: "certificate refused: \(Self.certificateText(detail))"
        case .peerAlert: "the peer sent a fatal alert: \(alertText)"
        case .malformed, .version, .noCommonCipher, .noCommonProtocol, .ours:
            code == 0 ? words : "\(words): \(OpenSSLError.text(UInt(code)))"
        case .plainHTTP, .unknownServerName, .requiredNameMissing, .certificateMissing, .truncated, .handshakeTooLarge,
            .controlFlood:
            words
        }
    }

    private var words: String {
        switch kind {
        case .malformed: "not valid TLS"
        case .plainHTTP: "a plain HTTP request on a TLS port"
        case .version: "no common TLS version"
        case .noCommonCipher: "no common cipher, group or signature algorithm"
        case .noCommonProtocol: "no common application protocol"
        case .unknownServerName: "no certificate for the server name asked for"
        case .certificateRefused: "certificate refused"
        case .requiredNameMissing: "certificate refused: it has none of the required names"
        case .certificateMissing: "the client sent no certificate"
        case .peerAlert: "alert"
        case .truncated: "closed without close_notify"
        case .handshakeTooLarge: "the handshake is too large"
        case .controlFlood: "too many bytes without data"
        case .ours: "TLS failed on our side"
        }
    }

    private var alertText: String {
        guard let text = SSL_alert_desc_string_long(detail) else { return "\(detail)" }
        return String(cString: text)
    }

    private static func certificateText(_ code: Int32) -> String {
        guard let text = X509_verify_cert_error_string(Int(code)) else { return "X.509 error \(code)" }
        return String(cString: text)
    }
}

extension TLSFailure {
    /// The failure that the thread's error queue tells of, after a step on `ssl`. Empties the queue.
    static func taken(from ssl: OpaquePointer) -> TLSFailure {
        let code = OpenSSLError.take()
        guard code != 0 else { return TLSFailure(.malformed) }
        let packed = UInt32(truncatingIfNeeded: code)
        guard copenssl_library(code) == ERR_LIB_SSL else {
            return TLSFailure(copenssl_library(code) == ERR_LIB_SYS ? .ours : .malformed, code: packed)
        }
        let reason = copenssl_reason(code)
        // OpenSSL numbers the alerts of the peer from 1000.
        if reason >= SSL_AD_REASON_OFFSET {
            return TLSFailure(.peerAlert, detail: reason - SSL_AD_REASON_OFFSET, code: packed)
        }
        if reason == SSL_R_CERTIFICATE_VERIFY_FAILED {
            let result = Int32(truncatingIfNeeded: SSL_get_verify_result(ssl))
            return TLSFailure(
                result == PeerIdentity.requiredNameMissing ? .requiredNameMissing : .certificateRefused, detail: result,
                code: packed)
        }
        return TLSFailure(kind(ofReason: reason), code: packed)
    }

    private static func kind(ofReason reason: Int32) -> Kind {
        switch reason {
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: .plainHTTP
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_UNKNOWN_PROTOCOL,
            SSL_R_VERSION_TOO_LOW, SSL_R_INAPPROPRIATE_FALLBACK:
            .version
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SUITABLE_KEY_SHARE,
            SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
            .noCommonCipher
        case SSL_R_NO_APPLICATION_PROTOCOL: .noCommonProtocol
        case SSL_R_CALLBACK_FAILED, SSL_R_CLIENTHELLO_TLSEXT: .unknownServerName
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: .certificateMissing
        case SSL_R_UNEXPECTED_EOF_WHILE_READING: .truncated
        case SSL_R_CERT_CB_ERROR: .ours
        default: .malformed
        }
    }
}

/// The thread's queue of OpenSSL errors.
enum OpenSSLError {
    /// The earliest error of the queue, which is then empty; 0 if there was none.
    static func take() -> UInt {
        let code = ERR_get_error()
        ERR_clear_error()
        return code
    }

    /// OpenSSL's reason for `code`.
    static func text(_ code: UInt) -> String {
        if let text = ERR_reason_error_string(code) { return String(cString: text) }
        return "OpenSSL error \(String(code, radix: 16))"
    }

    /// The reason at the front of the queue, which is then empty.
    static func takeText() -> String {
        let code = take()
        return code == 0 ? "unknown reason" : text(code)
    }
}
