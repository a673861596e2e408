import Primitives

/// How a request is written to the access log. The raw value is the name in the configuration.
public enum AccessLogFormat: String, CaseIterable, Sendable {
    /// Envoy's default line, field by field; durations in whole milliseconds.
    case envoy
    /// The common log format (NCSA), as Apache and nginx write it, with its own form of date.
    case common
    /// `common` with referer and user agent.
    case combined
    /// One JSON object a line, with every field; durations in microseconds.
    case json
    /// Nothing.
    case off

    /// Most bytes of a path before it is cut off.
    static let pathLimit = 4096
    /// Most bytes of any other text before it is cut off.
    static let textLimit = 1024
    /// No line is longer than this, so a writer with as much room never refuses one.
    public static let longestLine = 20_480

    /// Appends the line of `record`, newline included. Allocates nothing.
    ///
    /// - Returns: false if it did not fit: nothing was written then; empty the memory and try again.
    @discardableResult
    public func write(_ record: borrowing AccessRecord, to writer: inout ByteWriter) -> Bool {
        let mark = writer.count
        switch self {
        case .envoy: writer.append(envoy: record)
        case .common: writer.append(common: record)
        case .combined:
            writer.append(common: record)
            writer.append(quoted: record.referer)
            writer.append(quoted: record.userAgent)
        case .json: writer.append(json: record)
        case .off: return true
        }
        writer.append(ASCII.lf)
        assert(writer.count - mark <= AccessLogFormat.longestLine)
        guard writer.overflowed else { return true }
        writer.rewind(to: mark)
        return false
    }
}

extension ByteWriter {
    /// `[start] "method path protocol" status flags received sent ms upstream-ms`, then quoted: forwarded, agent, id,
    /// host, endpoint.
    fileprivate mutating func append(envoy record: borrowing AccessRecord) {
        append(UInt8(ascii: "["))
        append(timestamp: record.startUnixNanoseconds)
        append(UInt8(ascii: "]"))
        append(requestLine: record)
        append(number: UInt64(record.status))
        append(ASCII.space)
        append(flags: record.flags)
        append(number: record.bytesReceived)
        append(number: record.bytesSent)
        append(number: record.durationMicroseconds / 1000)
        append(number: record.upstreamMicroseconds.map { $0 / 1000 })
        append(quoted: record.forwardedFor)
        append(quoted: record.userAgent)
        append(quoted: record.requestID)
        append(quoted: record.host)
        append(quoted: record.endpoint)
    }

    /// `peer - - [date] "method path protocol" status sent`; no bytes are `-` there.
    fileprivate mutating func append(common record: borrowing AccessRecord) {
        append(escaped: record.peer, limit: AccessLogFormat.textLimit, isQuoted: false)
        append(" - - [")
        append(commonDate: record.startUnixNanoseconds)
        append(UInt8(ascii: "]"))
        append(requestLine: record)
        append(number: UInt64(record.status))
        append(number: record.bytesSent == 0 ? nil : record.bytesSent)
    }

    fileprivate mutating func append(json record: borrowing AccessRecord) {
        append("{\"time\":\"")
        append(timestamp: record.startUnixNanoseconds)
        append("\"")
        append(key: ",\"peer\":", record.peer)
        append(key: ",\"method\":", record.method)
        append(key: ",\"path\":", record.path, limit: AccessLogFormat.pathLimit)
        append(key: ",\"protocol\":", record.protocolName)
        append(key: ",\"host\":", record.host)
        append(key: ",\"status\":", number: UInt64(record.status))
        append(",\"flags\":")
        append(jsonFlags: record.flags)
        append(key: ",\"bytes_received\":", number: record.bytesReceived)
        append(key: ",\"bytes_sent\":", number: record.bytesSent)
        append(key: ",\"duration_us\":", number: record.durationMicroseconds)
        append(key: ",\"queued_us\":", number: record.queuedMicroseconds)
        append(key: ",\"upstream_us\":", number: record.upstreamMicroseconds)
        append(key: ",\"revision\":", record.revision)
        append(key: ",\"endpoint\":", record.endpoint)
        append(key: ",\"request_id\":", record.requestID)
        append(key: ",\"trace_id\":", record.traceID)
        append(key: ",\"user_agent\":", record.userAgent)
        append(key: ",\"referer\":", record.referer)
        append(key: ",\"forwarded_for\":", record.forwardedFor)
        append(UInt8(ascii: "}"))
    }

    // MARK: Fields

    /// Appends ` "method path protocol"`.
    private mutating func append(requestLine record: borrowing AccessRecord) {
        append(" \"")
        append(escaped: record.method, limit: AccessLogFormat.textLimit, isQuoted: true)
        append(ASCII.space)
        append(escaped: record.path, limit: AccessLogFormat.pathLimit, isQuoted: true)
        append(ASCII.space)
        append(escaped: record.protocolName, limit: AccessLogFormat.textLimit, isQuoted: true)
        append(UInt8(ascii: "\""))
    }

    /// Appends a space and the text in quotes.
    fileprivate mutating func append(quoted text: ByteView) {
        append(" \"")
        append(escaped: text, limit: AccessLogFormat.textLimit, isQuoted: true)
        append(UInt8(ascii: "\""))
    }

    /// Appends a space and the number, or `-` for none.
    private mutating func append(number: UInt64?) {
        append(ASCII.space)
        if let number { append(decimal: number) } else { append(UInt8(ascii: "-")) }
    }

    private mutating func append(flags: ResponseFlags) {
        if flags.isEmpty { append(UInt8(ascii: "-")) } else { append(letters: flags) }
    }

    private mutating func append(jsonFlags flags: ResponseFlags) {
        if flags.isEmpty { return append("null") }
        append(UInt8(ascii: "\""))
        append(letters: flags)
        append(UInt8(ascii: "\""))
    }

    private mutating func append(letters flags: ResponseFlags) {
        var isFirst = true
        for bit in 0..<UInt8(ResponseFlags.RawValue.bitWidth) {
            guard let flag = ResponseFlag(rawValue: bit), flags.contains(flag) else { continue }
            if !isFirst { append(ASCII.comma) }
            append(flag.letters)
            isFirst = false
        }
    }

    private mutating func append(key: StaticString, _ text: ByteView, limit: Int = AccessLogFormat.textLimit) {
        append(key)
        append(json: text, limit: limit)
    }

    private mutating func append(key: StaticString, number: UInt64?) {
        append(key)
        if let number { append(decimal: number) } else { append("null") }
    }
}
