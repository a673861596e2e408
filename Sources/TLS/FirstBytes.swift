import Primitives

/// What the first bytes of a connection begin, so that one port can take TLS and plain HTTP.
public enum FirstBytes: Equatable, Sendable {
    /// A TLS handshake record (RFC 8446 §5.1).
    case tls
    /// Anything that is not TLS: HTTP/1.1, the preface of HTTP/2, or garbage for the HTTP codec to refuse.
    case plain
    /// Too few to tell: none at all, or one that may begin a TLS record.
    case undecided

    /// Looks at the first two bytes and takes none.
    public init(_ bytes: ByteView) {
        guard bytes.count > 0 else {
            self = .undecided
            return
        }
        // A record of type 22 (handshake) of version 3.x. No HTTP method begins with a control character.
        guard bytes[0] == 22 else {
            self = .plain
            return
        }
        if bytes.count == 1 { self = .undecided } else { self = bytes[1] == 3 ? .tls : .plain }
    }
}
