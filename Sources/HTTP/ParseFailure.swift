/// Why a message was refused. Trivial: throwing one allocates nothing.
///
/// After a failure the position in the byte stream is lost: answer (a request) or give up (a response), then close.
public struct ParseFailure: Error, Equatable, Sendable {
    /// The rule that was broken.
    public let reason: Reason
    /// Where, in bytes from the start of the parsed view: the first offending byte or the start of its line.
    public let offset: Int

    /// A failure at `offset`.
    @inlinable
    public init(_ reason: Reason, offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    /// The status for the client if a request broke the rule. A response that did is answered 502, whatever this says.
    public var status: Int { reason.status }

    /// One case for each rule.
    public enum Reason: UInt8, CaseIterable, Sendable {
        // Lines.
        case bareCR, bareLF, controlByte, headTooLarge
        // First line of a request.
        case tooManyEmptyLines, requestLineTooLong, invalidMethod, emptyTarget, invalidTarget, fragmentInTarget
        case unsupportedScheme, connectUnsupported, invalidVersion, unsupportedVersion, http2Preface
        // First line of a response.
        case invalidStatus, invalidReasonPhrase
        // Fields.
        case foldedLine, missingColon, emptyFieldName, whitespaceInFieldName, invalidFieldName
        case fieldNameTooLong, fieldValueTooLong, tooManyFields, tooManyConnectionOptions, unknownExpectation
        // Authority.
        case missingHost, severalHosts, emptyHost, invalidHost, hostMismatch
        // Framing.
        case invalidContentLength, contentLengthOverflow, severalContentLengths, lengthWithTransferEncoding
        case transferEncodingInHTTP10, severalTransferEncodings, invalidTransferEncoding, chunkedNotFinal
        case unknownTransferCoding
        // Chunks and trailers.
        case invalidChunkSize, chunkSizeOverflow, invalidChunkExtension, chunkExtensionTooLong, invalidChunkEnd
        case trailersTooLarge
    }
}

extension ParseFailure.Reason {
    /// The status for the client if a request broke the rule.
    public var status: Int {
        switch self {
        case .requestLineTooLong: 414
        case .headTooLarge, .fieldNameTooLong, .fieldValueTooLong, .tooManyFields: 431
        case .unknownExpectation: 417
        case .connectUnsupported, .unknownTransferCoding: 501
        case .unsupportedVersion, .http2Preface: 505
        default: 400
        }
    }

    /// A few words for logs and for the body of the refusal.
    public var text: StaticString {
        switch self {
        case .bareCR: "carriage return without line feed"
        case .bareLF: "line feed without carriage return"
        case .controlByte: "control byte"
        case .headTooLarge: "head too large"
        case .tooManyEmptyLines: "too many empty lines before the request"
        case .requestLineTooLong: "request line too long"
        case .invalidMethod: "invalid method"
        case .emptyTarget: "empty request target"
        case .invalidTarget: "invalid request target"
        case .fragmentInTarget: "fragment in request target"
        case .unsupportedScheme: "unsupported scheme"
        case .connectUnsupported: "CONNECT is not supported"
        case .invalidVersion: "invalid HTTP version"
        case .unsupportedVersion: "unsupported HTTP version"
        case .http2Preface: "HTTP/2 connection preface"
        case .invalidStatus: "invalid status"
        case .invalidReasonPhrase: "invalid reason phrase"
        case .foldedLine: "folded field line"
        case .missingColon: "field line without colon"
        case .emptyFieldName: "empty field name"
        case .whitespaceInFieldName: "white space in field name"
        case .invalidFieldName: "invalid byte in field name"
        case .fieldNameTooLong: "field name too long"
        case .fieldValueTooLong: "field value too long"
        case .tooManyFields: "too many fields"
        case .tooManyConnectionOptions: "too many connection options"
        case .unknownExpectation: "unknown expectation"
        default: framingText
        }
    }

    /// The second half of `text`, for the reasons about authority, framing and chunks.
    private var framingText: StaticString {
        switch self {
        case .missingHost: "missing Host"
        case .severalHosts: "several Host fields"
        case .emptyHost: "empty Host"
        case .invalidHost: "invalid Host"
        case .hostMismatch: "Host differs from the request target"
        case .invalidContentLength: "invalid Content-Length"
        case .contentLengthOverflow: "Content-Length too large"
        case .severalContentLengths: "several Content-Length values"
        case .lengthWithTransferEncoding: "Content-Length with Transfer-Encoding"
        case .transferEncodingInHTTP10: "Transfer-Encoding in HTTP/1.0"
        case .severalTransferEncodings: "several Transfer-Encoding fields"
        case .invalidTransferEncoding: "invalid Transfer-Encoding"
        case .chunkedNotFinal: "chunked is not the final transfer coding"
        case .unknownTransferCoding: "unknown transfer coding"
        case .invalidChunkSize: "invalid chunk size"
        case .chunkSizeOverflow: "chunk size too large"
        case .invalidChunkExtension: "invalid chunk extension"
        case .chunkExtensionTooLong: "chunk extension too long"
        case .invalidChunkEnd: "chunk data not followed by a line end"
        case .trailersTooLarge: "trailer section too large"
        default: ""
        }
    }
}
