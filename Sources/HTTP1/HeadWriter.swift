import HTTP
import Primitives

/// Writes heads. What does not fit makes the writer overflow; the caller looks once, at the end.
///
/// Only bytes that a parser of this module has validated, or literals, may be handed in: nothing is checked again.
public enum HeadWriter {
    /// Writes the request line that is forwarded: method, origin-form (or `*`), always HTTP/1.1.
    ///
    /// - Parameter bytes: The view from which `head` was parsed.
    @inlinable
    public static func writeRequestLine(
        _ head: borrowing RequestHead, of bytes: ByteView, to writer: inout ByteWriter
    ) {
        writer.append(bytes[head.methodBytes])
        writer.append(Byte.space)
        writer.append(head.targetPrefix)
        writer.append(bytes[head.pathAndQuery])
        writer.append(" HTTP/1.1\r\n")
    }

    /// Writes a status line, always HTTP/1.1.
    ///
    /// - Parameters:
    ///   - status: 100...999.
    ///   - reason: The phrase; nil for the registry's.
    public static func writeStatusLine(_ status: Int, reason: ByteView? = nil, to writer: inout ByteWriter) {
        assert(status >= 100 && status <= 999)
        writer.append("HTTP/1.1 *** ")
        if !writer.overflowed {
            // Over the stars just written: always three digits.
            let digits = writer.base + (writer.count - 4)
            digits[0] = UInt8(truncatingIfNeeded: 0x30 + status / 100)
            digits[1] = UInt8(truncatingIfNeeded: 0x30 + status / 10 % 10)
            digits[2] = UInt8(truncatingIfNeeded: 0x30 + status % 10)
        }
        if let reason { writer.append(reason) } else { writer.append(StatusText.phrase(status)) }
        writer.append("\r\n")
    }

    /// Writes the field lines of `fields` that may be forwarded, in order: all but hop-by-hop ones and `excluding`.
    ///
    /// Neighbouring plain lines are copied as one run; a line with other white space around its value is written anew,
    /// so that the receiver always sees `Name: value` CR LF. Writes no empty line at the end.
    /// - Parameter bytes: The view from which `fields` was parsed.
    public static func writeFields(
        _ fields: borrowing FieldTable, of bytes: ByteView, excluding: KnownFieldSet = [],
        to writer: inout ByteWriter
    ) {
        // Where the current run of plain lines begins and ends. Empty: no run.
        var run = 0..<0
        for index in 0..<fields.count {
            let line = fields[index]
            if line.isHopByHop || excluding.contains(line.known) { continue }
            let start = Int(line.nameStart)
            let end = line.valueRange.upperBound &+ 2
            if line.isPlain, start == run.upperBound, !run.isEmpty {
                run = run.lowerBound..<end
                continue
            }
            if !run.isEmpty { writer.append(bytes[run]) }
            run = line.isPlain ? start..<end : 0..<0
            if !line.isPlain { writeField(bytes[line.nameRange], bytes[line.valueRange], to: &writer) }
        }
        if !run.isEmpty { writer.append(bytes[run]) }
    }

    /// Writes one field line.
    @inlinable
    public static func writeField(_ name: ByteView, _ value: ByteView, to writer: inout ByteWriter) {
        writer.append(name)
        writer.append(": ")
        writer.append(value)
        writer.append("\r\n")
    }

    /// Writes one field line with a literal name.
    @inlinable
    public static func writeField(_ name: StaticString, _ value: ByteView, to writer: inout ByteWriter) {
        writeField(ByteView(name), value, to: &writer)
    }

    /// Writes the line before a chunk of `size` bytes, at least 1. After the data the caller writes CR LF.
    @inlinable
    public static func writeChunkHead(_ size: Int, to writer: inout ByteWriter) {
        assert(size > 0, "a chunk of size 0 would end the body")
        writer.append(hex: UInt64(truncatingIfNeeded: size))
        writer.append("\r\n")
    }
}
