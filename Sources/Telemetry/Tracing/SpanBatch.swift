import Primitives

/// Finished spans of one worker, encoded already, until somebody sends them.
///
/// Bounded: what does not fit is counted and left out. A batch becomes one `ExportTraceServiceRequest` of OTLP 1.x, to
/// be posted to `/v1/traces` with `contentType`. Owner: one worker.
public struct SpanBatch: ~Copyable {
    /// Most bytes of a text in an attribute.
    public static let textLimit = 1024
    /// Most spans of one request, as in OpenTelemetry's batch processor.
    public static let spanLimit = 512
    /// Room for the longest span, in bytes: a batch with less is as good as full.
    static let longestSpan = 16 << 10
    /// Room of a batch in bytes by default.
    public static let defaultCapacity = 256 << 10
    /// `Content-Type` of the request.
    public static let contentType: StaticString = "application/x-protobuf"
    /// Path of the request if the endpoint has none.
    public static let path: StaticString = "/v1/traces"

    private let memory: UnsafeMutableRawBufferPointer
    private var used = 0
    /// Bytes of the spans that wait.
    var byteCount: Int { used }
    /// How many spans wait.
    public private(set) var count = 0
    /// How many spans found no room, ever.
    public private(set) var dropped: UInt64 = 0

    /// An empty batch with room for `capacity` bytes.
    public init(capacity: Int = SpanBatch.defaultCapacity) {
        precondition(capacity > 0)
        memory = .allocate(byteCount: capacity, alignment: 8)
    }

    deinit { memory.deallocate() }

    /// Whether another span may find no room: time to send what waits.
    public var isNearlyFull: Bool { count >= SpanBatch.spanLimit || memory.count - used < SpanBatch.longestSpan }

    /// Adds a finished span. Allocates nothing.
    ///
    /// - Returns: false if there was no room; the span is counted as dropped.
    @discardableResult
    public mutating func append(_ span: RequestSpan) -> Bool {
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[min(used, memory.count - 1)...]))
        if count < SpanBatch.spanLimit, used < memory.count { writer.append(span) }
        guard writer.count > 0, !writer.overflowed else {
            dropped &+= 1
            return false
        }
        used += writer.count
        count += 1
        return true
    }

    /// Appends the request with all spans that wait, and forgets them.
    ///
    /// - Returns: false, and nothing is written or forgotten, if there is no room or no span.
    public mutating func write(resource: TraceResource, to writer: inout ByteWriter) -> Bool {
        guard count > 0, !writer.overflowed else { return false }
        let mark = writer.count
        resource.encoded.withUnsafeBytes { attributes in
            let resourceSpans = writer.beginMessage(field: 1)
            writer.append(field: 1, bytes: ByteView(attributes))
            let scopeSpans = writer.beginMessage(field: 2)
            let scope = writer.beginMessage(field: 1)
            writer.append(field: 1, bytes: ByteView("martlet"))
            writer.endMessage(at: scope)
            writer.append(ByteView(UnsafeRawBufferPointer(rebasing: memory[0..<used])))
            writer.endMessage(at: scopeSpans)
            writer.endMessage(at: resourceSpans)
        }
        guard !writer.overflowed else {
            writer.rewind(to: mark)
            return false
        }
        (used, count) = (0, 0)
        return true
    }
}

extension SpanBatch {
    /// The request with all spans that wait, which are forgotten; nil if there are none. Allocates it.
    public mutating func take(resource: TraceResource) -> [UInt8]? {
        guard count > 0 else { return nil }
        // Three lengths and the scope's name around what is there.
        let room = byteCount + resource.encoded.count + 64
        return withUnsafeTemporaryAllocation(byteCount: room, alignment: 8) { place in
            var writer = ByteWriter(place)
            guard write(resource: resource, to: &writer) else { return nil }
            return Array(UnsafeBufferPointer(start: writer.base, count: writer.count))
        }
    }
}

/// The attributes of the process that spans are sent with, encoded once.
public struct TraceResource: Sendable {
    /// Most bytes of all attributes.
    public static let limit = 8192

    /// An OTLP `Resource`.
    let encoded: [UInt8]

    /// The attributes by name, `service.name` and others; empty values are left out. What is beyond `limit` is too.
    public init(attributes: [(name: String, value: String)]) {
        encoded = withUnsafeTemporaryAllocation(byteCount: TraceResource.limit, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            for (name, value) in attributes where !value.isEmpty {
                let mark = writer.count
                var (name, value) = (name, value)
                name.withUTF8 { name in
                    value.withUTF8 { value in
                        writer.appendAttribute(
                            field: 1, ByteView(UnsafeRawBufferPointer(name)),
                            text: ByteView(UnsafeRawBufferPointer(value)))
                    }
                }
                if writer.overflowed { writer.rewind(to: mark) }
            }
            return Array(UnsafeBufferPointer(start: writer.base, count: writer.count))
        }
    }
}

extension ByteWriter {
    /// Appends a span as an entry of OTLP's `ScopeSpans`.
    fileprivate mutating func append(_ span: RequestSpan) {
        let message = beginMessage(field: 2)
        append(tag: 1, .bytes)
        append(varint: 16)
        append(bigEndian: span.context.traceHigh)
        append(bigEndian: span.context.traceLow)
        append(tag: 2, .bytes)
        append(varint: 8)
        append(bigEndian: span.context.spanID)
        if !span.traceState.isEmpty {
            let state = beginMessage(field: 3)
            append(utf8: span.traceState)
            endMessage(at: state)
        }
        if span.parentSpanID != 0 {
            append(tag: 4, .bytes)
            append(varint: 8)
            append(bigEndian: span.parentSpanID)
        }
        let name = beginMessage(field: 5)
        if span.kind == .client { append("HTTP ") }
        if span.kind == .internal {
            append(span.name)
        } else if KnownMethod.isKnown(span.method) {
            append(span.method)
        } else if span.kind == .server {
            append("HTTP")
        }
        endMessage(at: name)
        append(field: 6, varint: UInt64(span.kind.rawValue))
        append(field: 7, fixed64: span.startUnixNanoseconds)
        append(field: 8, fixed64: span.endUnixNanoseconds)
        switch span.kind {
        case .server: appendServerAttributes(of: span)
        case .client: appendClientAttributes(of: span)
        case .internal: break
        }
        appendStatus(of: span)
        // The trace's flags, that it is known whether the parent is remote, and whether it is.
        append(field: 16, fixed32: UInt32(span.context.flags) | 0x100 | (span.isParentRemote ? 0x200 : 0))
        endMessage(at: message)
    }

    private mutating func appendServerAttributes(of span: RequestSpan) {
        let server = HostAndPort(span.host)
        appendAttribute("server.address", text: server.host)
        appendMethod(of: span)
        appendAttribute("url.scheme", text: ByteView(span.isTLS ? "https" : "http"))
        appendAttribute("server.port", number: server.port(isTLS: span.isTLS))
        let peer = HostAndPort(span.peer)
        appendAttribute("network.peer.address", text: peer.host)
        appendAttribute("network.peer.port", number: peer.port)
        appendAttribute("user_agent.original", text: span.userAgent)
        let forwarded = span.forwardedFor
        let first = forwarded[0..<(forwarded.firstIndex(of: ASCII.comma) ?? forwarded.count)]
        appendAttribute("client.address", text: first.isEmpty ? peer.host : first)
        appendAttribute("url.path", text: RequestTarget(span.target).path)
        appendAttribute("network.protocol.version", text: span.protocolVersion)
        appendAttribute("kn.route.tag", text: span.routeTag)
        if let revision = span.revision {
            appendAttribute("kn.service.name", text: revision.service)
            appendAttribute("kn.configuration.name", text: revision.configuration)
            appendAttribute("kn.revision.name", text: revision.name)
            appendAttribute("k8s.namespace.name", text: revision.namespace)
        }
        appendAttribute("http.request.body.size", number: span.requestBytes)
        appendAttribute("http.response.body.size", number: span.responseBytes)
        appendAttribute("http.response.status_code", number: UInt64(span.status))
    }

    private mutating func appendClientAttributes(of span: RequestSpan) {
        let server = HostAndPort(span.host)
        appendMethod(of: span)
        let attribute = beginMessage(field: 9)
        append(field: 1, bytes: ByteView("url.full"))
        let value = beginMessage(field: 2)
        let text = beginMessage(field: 1)
        append(span.isTLS ? "https://" : "http://")
        append(utf8: span.host)
        append(utf8: span.target)
        endMessage(at: text)
        endMessage(at: value)
        endMessage(at: attribute)
        appendAttribute("server.address", text: server.host)
        appendAttribute("server.port", number: server.port(isTLS: span.isTLS))
        appendAttribute("network.protocol.version", text: span.protocolVersion)
        appendAttribute("http.response.status_code", number: UInt64(span.status))
        guard span.status >= 400 || span.status == 0 else { return }
        guard span.status > 0 else { return appendAttribute("error.type", text: ByteView("_OTHER")) }
        let error = beginMessage(field: 9)
        append(field: 1, bytes: ByteView("error.type"))
        let type = beginMessage(field: 2)
        let digits = beginMessage(field: 1)
        append(decimal: UInt64(span.status))
        endMessage(at: digits)
        endMessage(at: type)
        endMessage(at: error)
    }

    private mutating func appendMethod(of span: RequestSpan) {
        let isKnown = KnownMethod.isKnown(span.method)
        appendAttribute("http.request.method", text: isKnown ? span.method : ByteView("_OTHER"))
        if !isKnown { appendAttribute("http.request.method_original", text: span.method) }
    }

    /// Code 2 is an error: for a server from 500 on, for a client from 400 on and where no answer came. A part of the
    /// work has none of its own.
    private mutating func appendStatus(of span: RequestSpan) {
        let isError =
            span.kind != .internal && (span.status < 100 || span.status >= (span.kind == .server ? 500 : 400))
        let status = beginMessage(field: 15)
        append(field: 3, varint: isError ? 2 : 0)
        endMessage(at: status)
    }

    // MARK: Attributes

    /// Appends a text; nothing if it is empty.
    private mutating func appendAttribute(_ name: StaticString, text: ByteView) {
        guard !text.isEmpty else { return }
        appendAttribute(field: 9, ByteView(name), text: text)
    }

    /// Appends an integer; nothing if it is zero.
    private mutating func appendAttribute(_ name: StaticString, number: UInt64) {
        guard number != 0 else { return }
        let attribute = beginMessage(field: 9)
        append(field: 1, bytes: ByteView(name))
        let value = beginMessage(field: 2)
        append(field: 3, varint: number)
        endMessage(at: value)
        endMessage(at: attribute)
    }

    fileprivate mutating func appendAttribute(field: Int, _ name: ByteView, text: ByteView) {
        let attribute = beginMessage(field: field)
        append(field: 1, bytes: name)
        let value = beginMessage(field: 2)
        let content = beginMessage(field: 1)
        append(utf8: text)
        endMessage(at: content)
        endMessage(at: value)
        endMessage(at: attribute)
    }

    /// Appends at most `SpanBatch.textLimit` bytes of whole characters; a byte that belongs to none becomes U+FFFD.
    private mutating func append(utf8 text: ByteView) {
        let end = count + SpanBatch.textLimit
        var index = 0
        while index < text.count {
            let length = ByteWriter.characterLength(text, at: index)
            guard count + max(3, length) <= end else { return }
            if length > 0 { append(text[index..<index + length]) } else { append("\u{FFFD}") }
            index += max(1, length)
        }
    }

    private mutating func append(bigEndian value: UInt64) {
        guard let place = reserve(8) else { return }
        UnsafeMutableRawPointer(place).storeBytes(of: value.bigEndian, as: UInt64.self)
    }
}
