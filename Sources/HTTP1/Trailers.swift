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
    where FieldRules.isForbiddenInTrailers(fields[index].known, fields.name(index, in: block)) {
        fields.markHopByHop(index)
    }
}
