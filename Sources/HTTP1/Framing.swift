import HTTP
import Primitives

/// Finds out what a head says about the length of its body (RFC 9112 §6), and refuses what can be read in two ways.
enum Framing {
    /// The framing that `Content-Length` or `Transfer-Encoding` say; nil if neither stands there.
    @inline(__always)
    static func of(
        _ bytes: ByteView, fields: borrowing FieldTable, version: HTTPVersion
    ) throws(ParseFailure) -> BodyFraming? {
        if fields.present.contains(.transferEncoding) {
            try checkTransferEncoding(bytes, fields: fields, version: version)
            return .chunked
        }
        guard let index = fields.firstIndex(of: .contentLength) else { return nil }
        guard !fields.repeated.contains(.contentLength) else {
            throw ParseFailure(.severalContentLengths, offset: Int(fields[index].nameStart))
        }
        return .length(try contentLength(fields.value(index, in: bytes), at: Int(fields[index].valueStart)))
    }

    /// Digits only: no sign, no list, no white space, at most `HTTPLimits.maximumBodyBytes`.
    static func contentLength(_ value: ByteView, at offset: Int) throws(ParseFailure) -> UInt64 {
        guard !value.isEmpty else { throw ParseFailure(.invalidContentLength, offset: offset) }
        var length: UInt64 = 0
        for index in 0..<value.count {
            guard ASCII.isDigit(value.base[index]) else {
                let isList = value.base[index] == Byte.comma
                throw ParseFailure(isList ? .severalContentLengths : .invalidContentLength, offset: offset + index)
            }
            // Nineteen digits cannot overflow 64 bits; more is refused, leading zeros or not.
            guard index < 19 else { throw ParseFailure(.contentLengthOverflow, offset: offset) }
            length = length &* 10 &+ UInt64(value.base[index] & 15)
        }
        guard length <= HTTPLimits.maximumBodyBytes else { throw ParseFailure(.contentLengthOverflow, offset: offset) }
        return length
    }

    /// Accepts exactly one field with exactly the value `chunked`.
    private static func checkTransferEncoding(
        _ bytes: ByteView, fields: borrowing FieldTable, version: HTTPVersion
    ) throws(ParseFailure) {
        guard let index = fields.firstIndex(of: .transferEncoding) else { return }
        let offset = Int(fields[index].nameStart)
        guard version >= .http11 else { throw ParseFailure(.transferEncodingInHTTP10, offset: offset) }
        guard !fields.present.contains(.contentLength) else {
            throw ParseFailure(.lengthWithTransferEncoding, offset: offset)
        }
        guard !fields.repeated.contains(.transferEncoding) else {
            throw ParseFailure(.severalTransferEncodings, offset: offset)
        }
        let value = fields.value(index, in: bytes)
        guard value.equalsIgnoringCase("chunked") else {
            throw ParseFailure(codingFailure(value), offset: Int(fields[index].valueStart))
        }
    }

    /// What is wrong with a transfer coding list that is not just `chunked`.
    private static func codingFailure(_ value: ByteView) -> ParseFailure.Reason {
        var elements = ListElements(value)
        var (count, chunked, lastIsChunked) = (0, 0, false)
        while let element = elements.next() {
            guard ByteClass.isToken(element) else { return .invalidTransferEncoding }
            lastIsChunked = element.equalsIgnoringCase("chunked")
            if lastIsChunked { chunked += 1 }
            count += 1
        }
        if count == 0 || chunked == count { return .invalidTransferEncoding }
        return chunked == 0 || (chunked == 1 && lastIsChunked) ? .unknownTransferCoding : .chunkedNotFinal
    }
}
