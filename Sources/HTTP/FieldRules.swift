import Primitives

/// Rules about fields that hold whatever version of HTTP they came in.
public enum FieldRules {
    /// Whether `name`, in any case, belongs to the families that only proxies may write: X-Forwarded-, K-, Knative-.
    public static func isReserved(_ name: ByteView) -> Bool {
        hasPrefix(name, "x-forwarded-") || hasPrefix(name, "k-") || hasPrefix(name, "knative-")
    }

    /// Whether a field must not come after the body, because it would change framing, routing, authentication or
    /// content once that has been acted on (RFC 9110 §6.5.1).
    ///
    /// Such trailers are kept and flagged hop-by-hop, so that no writer forwards them. Those of
    /// `KnownFieldSet.hopByHop` are flagged by their parsers anyway and not asked about here.
    /// - Parameter known: What `KnownField.classify` says of `name`.
    public static func isForbiddenInTrailers(_ known: KnownField, _ name: ByteView) -> Bool {
        if known != .other {
            return KnownFieldSet.forbiddenInTrailers.contains(known) || KnownFieldSet.undroppable.contains(known)
        }
        return isReserved(name) || isRareForbidden(name)
    }

    /// Fields without a case of their own that RFC 9110 §6.5.1 keeps out of trailers: the whole Content- family,
    /// controls, conditions, negotiation, authentication.
    private static func isRareForbidden(_ name: ByteView) -> Bool {
        if name.count > 8, hasPrefix(name, "content-") { return true }
        switch name.count {
        case 3: return name.equalsIgnoringCase("age")
        case 4: return name.equalsIgnoringCase("vary")
        case 5: return name.equalsIgnoringCase("range")
        case 6: return name.equalsIgnoringCase("pragma") || name.equalsIgnoringCase("accept")
        case 7: return name.equalsIgnoringCase("expires") || name.equalsIgnoringCase("warning")
        case 8: return name.equalsIgnoringCase("if-match") || name.equalsIgnoringCase("if-range")
        case 12: return name.equalsIgnoringCase("max-forwards")
        case 13: return name.equalsIgnoringCase("cache-control") || name.equalsIgnoringCase("if-none-match")
        case 16: return name.equalsIgnoringCase("www-authenticate")
        case 17: return name.equalsIgnoringCase("if-modified-since")
        case 19: return name.equalsIgnoringCase("if-unmodified-since")
        default: return false
        }
    }

    /// Whether a configured text is a field name: a token of 1 to 256 bytes (RFC 9110 §5.1).
    public static func isName(_ text: String) -> Bool {
        (1...256).contains(text.utf8.count) && text.utf8.allSatisfy { ByteClass.isToken($0) }
    }

    /// Whether a configured text can be a field's value: no controls, no white space around it, at most 8,192 bytes
    /// (RFC 9110 §5.5). An empty one can.
    public static func isValue(_ text: String) -> Bool {
        let bytes = text.utf8
        guard bytes.count <= 8_192, bytes.allSatisfy({ ByteClass.isFieldValue($0) }) else { return false }
        guard let first = bytes.first, let last = bytes.last else { return true }
        return !isBlank(first) && !isBlank(last)
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    private static func hasPrefix(_ name: ByteView, _ prefix: StaticString) -> Bool {
        let length = prefix.utf8CodeUnitCount
        return name.count >= length && name[0..<length].equalsIgnoringCase(prefix)
    }
}
