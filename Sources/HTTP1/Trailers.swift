import HTTP
import Primitives

/// Parses the lines of a trailer section (RFC 9112 §7.1.2), as `BodyStep.trailers` gives them, as strictly as a head's.
///
/// Fields that must not come after the body, because they would change framing, routing, authentication or content once
/// it has been acted on, are flagged hop-by-hop: `HeadWriter.writeFields` leaves them out.
/// - Parameters:
///   - block: Whole lines, without the empty line that ends the section.
///   - fields: Emptied, then filled with offsets into `block`.
public func parseTrailers(
    _ block: ByteView, into fields: inout FieldTable, limits: HTTPLimits
) throws(ParseFailure) {
    fields.removeAll()
    var index = 0
    while index < block.count {
        guard let next = try FieldParser.parseLine(block, at: index, limits: limits, into: &fields) else {
            throw ParseFailure(.missingColon, offset: index)
        }
        index = next
    }
    for index in 0..<fields.count
    where TrailerRules.isForbidden(fields[index].known, fields.name(index, in: block)) {
        fields.markHopByHop(index)
    }
}

/// Which fields may not stand in a trailer section (RFC 9110 §6.5.1).
private enum TrailerRules {
    static func isForbidden(_ known: KnownField, _ name: ByteView) -> Bool {
        if known != .other {
            return KnownFieldSet.forbiddenInTrailers.contains(known) || KnownFieldSet.undroppable.contains(known)
        }
        return ConnectionOptions.isReservedName(name) || isRareForbidden(name)
    }

    /// Fields without a case of their own that RFC 9110 §6.5.1 keeps out of trailers: the whole Content- family,
    /// controls, conditions, negotiation, authentication.
    private static func isRareForbidden(_ name: ByteView) -> Bool {
        if name.count > 8, name[0..<8].equalsIgnoringCase("content-") { return true }
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
}
