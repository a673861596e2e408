import Balancing
import EventLoop
import HTTP
import HTTP1
import Primitives
import TLS
import Telemetry

/// Request log, metrics and spans of each request (`RequestTelemetry`). Without it a request passes four branches.
extension Worker {
    // MARK: The beginning

    /// Keeps of the head what will be told at the end.
    func telemetryBegins(
        _ exchange: ExchangePointer, _ connection: Downstream, _ parts: RequestParts,
        _ fields: borrowing FieldTable, _ telemetry: WorkerTelemetry
    ) {
        let isProbe = !value(of: .kNetworkProbe, parts, fields).isEmpty
        // What is in none of the three needs no note: without one nothing is told.
        guard !isProbe || telemetry.log?.includesProbes == true else { return }
        var note = RequestNote()
        note.isProbe = isProbe
        note.isTLS = connection.pointee.tls != nil
        note.contentLength = Self.contentLength(parts.framing)
        if let sampler = telemetry.sampler, !isProbe { trace(&note, parts, fields, sampler, telemetry) }
        keep(&exchange.pointee.note, note, parts, fields, telemetry)
    }

    /// Keeps the texts of a request with `note` before them.
    func keep(
        _ buffer: inout Buffer, _ note: RequestNote, _ parts: RequestParts, _ fields: borrowing FieldTable,
        _ telemetry: WorkerTelemetry
    ) {
        telemetry.draft.begin()
        telemetry.draft.set(.method, parts.methodBytes)
        telemetry.draft.set(.host, parts.authority)
        telemetry.draft.set(
            .routeTag,
            RouteTag.name(
                tag: value(of: .knativeServingTag, parts, fields),
                defaultRoute: value(of: .knativeServingDefaultRoute, parts, fields)))
        if telemetry.wantsAllTexts { telemetry.draft.set(.target, parts.target) }
        if note.isTraced {
            telemetry.draft.set(.userAgent, value(of: .userAgent, parts, fields))
            telemetry.draft.set(.forwardedFor, value(of: .xForwardedFor, parts, fields))
            if !note.beginsTrace { telemetry.draft.set(.traceState, value(of: .tracestate, parts, fields)) }
        }
        if let log = telemetry.log { addFields(log, parts, fields, to: &telemetry.draft) }
        _ = telemetry.draft.write(note, to: &buffer, &buffers)
    }

    /// Adds the fields that the template asks for. `Host` is none in Go.
    private func addFields(
        _ log: RequestLogTexts, _ parts: RequestParts, _ fields: borrowing FieldTable, to draft: inout NoteDraft
    ) {
        for (number, name) in log.names.enumerated() where name.known != .host {
            guard fields.present.contains(name.known) else { continue }
            var line = fields.nextIndex(of: name.known, from: 0)
            while let index = line {
                if name.known != .other || fields.name(index, in: parts.bytes).matchesIgnoringCase(name.text) {
                    draft.add(field: number, fields.value(index, in: parts.bytes))
                }
                line = fields.nextIndex(of: name.known, from: index + 1)
            }
        }
    }

    /// As Go tells it (`http.Request.ContentLength`).
    static func contentLength(_ framing: BodyFraming) -> Int64 {
        switch framing {
        case .none: 0
        case .length(let length): Int64(clamping: length)
        case .chunked, .untilClose: -1
        }
    }

    // MARK: The trace

    /// Puts the request into its trace, or into a new one.
    private func trace(
        _ note: inout RequestNote, _ parts: RequestParts, _ fields: borrowing FieldTable, _ sampler: TraceSampler,
        _ telemetry: WorkerTelemetry
    ) {
        note.isTraced = true
        if let parent = parentContext(parts, fields) {
            let isSampled = sampler.samples(parent, hasParent: true)
            note.server = parent.child(isSampled: isSampled, random: &telemetry.random)
            note.parentSpanID = parent.spanID
            note.beginsTrace = !hasTraceparent(parts, fields)
        } else {
            note.server = TraceContext.root(isSampled: false, random: &telemetry.random)
            if sampler.samples(note.server, hasParent: false) { note.server.flags |= 1 }
            note.beginsTrace = true
        }
        note.client = note.server.child(isSampled: note.server.isSampled, random: &telemetry.random)
    }

    /// The caller's context: W3C's, else B3's of either form.
    private func parentContext(_ parts: RequestParts, _ fields: borrowing FieldTable) -> TraceContext? {
        let present = fields.present
        if present.contains(.traceparent),
            let context = TraceContext(traceparent: value(of: .traceparent, parts, fields))
        {
            return context
        }
        if present.contains(.b3), let context = TraceContext(b3: value(of: .b3, parts, fields)) { return context }
        guard present.contains(.xB3TraceId) else { return nil }
        return TraceContext(
            b3TraceID: value(of: .xB3TraceId, parts, fields), spanID: value(named: "x-b3-spanid", parts, fields),
            sampled: value(named: "x-b3-sampled", parts, fields), flags: value(named: "x-b3-flags", parts, fields))
    }

    private func hasTraceparent(_ parts: RequestParts, _ fields: borrowing FieldTable) -> Bool {
        TraceContext(traceparent: value(of: .traceparent, parts, fields)) != nil
    }

    private func value(
        named name: StaticString, _ parts: RequestParts, _ fields: borrowing FieldTable
    ) -> ByteView {
        fields.firstIndex(named: name, in: parts.bytes).map { fields.value($0, in: parts.bytes) } ?? .empty
    }

    /// The note of a request whose context is ours to say; nil if what it came with is passed on.
    @inline(__always)
    func traced(_ exchange: ExchangePointer) -> NotePointer? {
        guard telemetry != nil, let note = NotePointer(exchange.pointee.note), note.note.pointee.isTraced else {
            return nil
        }
        return note
    }

    // MARK: On the way

    /// The request has a slot.
    func telemetryDispatches(_ exchange: ExchangePointer, _ telemetry: WorkerTelemetry) {
        if let note = NotePointer(exchange.pointee.note) { note.note.pointee.hasLeftQueue = true }
        guard isSidecar else { return }
        let gate = exchange.pointee.target.gate
        guard gate.concurrency > 0, telemetry.metrics != nil, let endpoint = exchange.pointee.endpoint else { return }
        telemetry.shared.note(queueDepth: endpoint.inFlight + gate.waiting)
    }

    // MARK: The end

    /// Tells of an exchange that ends now. One whose note found no memory is told nowhere: there is none left even to
    /// serve it.
    func telemetryEnds(_ exchange: ExchangePointer, _ telemetry: WorkerTelemetry) {
        guard let note = NotePointer(exchange.pointee.note) else { return }
        if !note.note.pointee.isProbe, let metrics = telemetry.metrics { record(exchange, note, metrics) }
        if note.note.pointee.isTraced, note.note.pointee.server.isSampled {
            appendSpans(exchange, note, telemetry)
        }
        if let log = telemetry.log, let connection = downstreams[exchange.pointee.downstream] {
            let duration = now.nanoseconds(since: exchange.pointee.arrivedAt)
            writeLine(
                note, connection, exchange.pointee.clientVersion, status: exchange.pointee.status,
                bytes: exchange.pointee.bytesSent, nanoseconds: duration, log, exchange.pointee.target.labels)
        }
        buffers.release(&exchange.pointee.note)
    }

    private func record(_ exchange: ExchangePointer, _ note: NotePointer, _ metrics: RequestMetrics) {
        var labels = MetricLabels()
        labels.method = note[.method]
        labels.host = note[.host]
        labels.routeTag = note[.routeTag]
        labels.isTLS = note.note.pointee.isTLS
        labels.protocolVersion = exchange.pointee.clientVersion.number
        labels.status = UInt16(clamping: exchange.pointee.status)
        labels.revision = exchange.pointee.target.labels
        let requestBytes = exchange.pointee.bytesReceived
        metrics.record(
            labels, nanoseconds: now.nanoseconds(since: exchange.pointee.arrivedAt),
            upstreamNanoseconds: note.note.pointee.hasLeftQueue
                ? now.nanoseconds(since: exchange.pointee.grantedAt) : nil,
            requestBytes: requestBytes, responseBytes: exchange.pointee.bytesSent)
    }

    /// Writes the line of a request into the lines of this wake-up. `labels`: whose it is, if not the process's.
    func writeLine(
        _ note: NotePointer, _ connection: Downstream, _ version: HTTPVersion, status: Int, bytes: UInt64,
        nanoseconds: UInt64, _ log: RequestLogTexts, _ labels: RevisionLabels? = nil
    ) {
        for index in 0..<note.note.pointee.fieldCount {
            let field = note.field(index)
            log.fields[index] = RequestLogHeader(name: log.names[field.name].text, value: field.value)
        }
        var record = RequestLogRecord()
        record.method = note[.method]
        record.requestURI = note[.target]
        record.host = note[.host]
        record.protocolName = version.goName
        record.contentLength = note.note.pointee.contentLength
        record.tls = connection.pointee.tls.map { Self.facts(of: $0, connection) }
        record.headers = UnsafeBufferPointer(start: log.fields, count: note.note.pointee.fieldCount)
        // Go's recorder begins with 200, and keeps it where nobody is left to be answered.
        record.status = status == 0 ? 200 : UInt16(clamping: status)
        record.responseBytes = bytes
        record.latencyNanoseconds = nanoseconds
        record.revision = labels?.log ?? log.revision
        withPeerAddress(connection) { peer in
            record.remoteAddress = peer
            guard log.log.write(record, to: &logLines.writer) == .noRoom else { return }
            flushLog()
            let outcome = log.log.write(record, to: &logLines.writer)
            assert(outcome != .noRoom, "the empty buffer takes the longest line")
        }
    }

    private static func facts(of tls: Secure, _ connection: Downstream) -> RequestLogTLS {
        var facts = RequestLogTLS()
        facts.version = UInt16(truncatingIfNeeded: tls.pointee.tls.version?.rawValue ?? 0)
        facts.isResumed = tls.pointee.tls.isResumed
        facts.cipherSuite = tls.pointee.tls.cipherSuiteNumber
        facts.negotiatedProtocol = connection.pointee.applicationProtocol.map { ByteView($0.name) } ?? .empty
        facts.serverName = tls.pointee.tls.serverNameView
        return facts
    }

    /// The client's address with its port, as Go writes it; valid inside `body`.
    private func withPeerAddress(_ connection: Downstream, _ body: (ByteView) -> Void) {
        let port = connection.pointee.peer.port
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { place in
            var writer = ByteWriter(place)
            connection.pointee.withPeerText { host in
                let isIPv6 = host.firstIndex(of: ASCII.colon) != nil
                if isIPv6 { writer.append(UInt8(ascii: "[")) }
                writer.append(host)
                if isIPv6 { writer.append(UInt8(ascii: "]")) }
            }
            writer.append(ASCII.colon)
            writer.append(decimal: UInt64(port))
            body(writer.written)
        }
    }

    // MARK: Spans

    private func appendSpans(_ exchange: ExchangePointer, _ note: NotePointer, _ telemetry: WorkerTelemetry) {
        let end = MonotonicClock.wallNanoseconds()
        var server = RequestSpan(.server, context: note.note.pointee.server)
        server.parentSpanID = note.note.pointee.parentSpanID
        server.isParentRemote = server.parentSpanID != 0
        server.traceState = note[.traceState]
        server.startUnixNanoseconds = end &- now.nanoseconds(since: exchange.pointee.arrivedAt)
        server.endUnixNanoseconds = end
        server.method = note[.method]
        server.host = note[.host]
        server.isTLS = note.note.pointee.isTLS
        server.target = note[.target]
        server.protocolVersion = exchange.pointee.clientVersion.number
        server.status = UInt16(clamping: exchange.pointee.status)
        server.userAgent = note[.userAgent]
        server.forwardedFor = note[.forwardedFor]
        let labels = exchange.pointee.target.labels
        if labels == nil { server.routeTag = note[.routeTag] }
        server.revision = labels?.log
        server.requestBytes = exchange.pointee.bytesReceived
        server.responseBytes = exchange.pointee.bytesSent
        let parent =
            isActivator ? appendParts(exchange, note, end: end, telemetry) : note.note.pointee.server.spanID
        if note.note.pointee.hasLeftQueue { appendClientSpan(exchange, note, parent: parent, end: end, telemetry) }
        if let connection = downstreams[exchange.pointee.downstream] {
            withPeerAddress(connection) { peer in
                server.peer = peer
                append(server, telemetry)
            }
        } else {
            append(server, telemetry)
        }
    }

    /// An activator's parts of the work (spec/dataplane 3.4): the wait for a slot, `throttler_try`, and behind it
    /// `activator_proxy`. Returns whose part the exchange with the pod is.
    private func appendParts(
        _ exchange: ExchangePointer, _ note: NotePointer, end: UInt64, _ telemetry: WorkerTelemetry
    ) -> UInt64 {
        let context = note.note.pointee.server
        let start = end &- now.nanoseconds(since: exchange.pointee.arrivedAt)
        let hasLeft = note.note.pointee.hasLeftQueue
        let granted = hasLeft ? end &- now.nanoseconds(since: exchange.pointee.grantedAt) : end
        appendPart("throttler_try", from: start, to: granted, of: note, telemetry)
        guard hasLeft else { return context.spanID }
        return appendPart("activator_proxy", from: granted, to: end, of: note, telemetry)
    }

    /// Appends a part of the work and returns its id.
    @discardableResult
    private func appendPart(
        _ name: StaticString, from start: UInt64, to end: UInt64, of note: NotePointer, _ telemetry: WorkerTelemetry
    ) -> UInt64 {
        let server = note.note.pointee.server
        var part = RequestSpan(.internal, context: server.child(isSampled: true, random: &telemetry.random))
        part.name = name
        part.parentSpanID = server.spanID
        part.traceState = note[.traceState]
        (part.startUnixNanoseconds, part.endUnixNanoseconds) = (start, end)
        append(part, telemetry)
        return part.context.spanID
    }

    /// The span of the exchange with the upstream, from leaving the queue on.
    private func appendClientSpan(
        _ exchange: ExchangePointer, _ note: NotePointer, parent: UInt64, end: UInt64, _ telemetry: WorkerTelemetry
    ) {
        var client = RequestSpan(.client, context: note.note.pointee.client)
        client.parentSpanID = parent
        client.traceState = note[.traceState]
        client.startUnixNanoseconds = end &- now.nanoseconds(since: exchange.pointee.grantedAt)
        client.endUnixNanoseconds = end
        client.method = note[.method]
        client.target = note[.target]
        client.isTLS = exchange.pointee.target.upstreamSecurity != nil
        client.protocolVersion = ByteView(exchange.pointee.upstreamStream == .none ? "1.1" : "2.0")
        // A status of ours is no answer of the container's.
        client.status = exchange.pointee.responseHasStarted ? UInt16(clamping: exchange.pointee.status) : 0
        withUnsafeTemporaryAllocation(byteCount: Self.endpointTextLimit, alignment: 1) { place in
            var writer = ByteWriter(place)
            writer.append(exchange.pointee.log.endpoint)
            client.host = writer.written
            append(client, telemetry)
        }
    }

    private func append(_ span: RequestSpan, _ telemetry: WorkerTelemetry) {
        if !telemetry.spans.append(span) { telemetry.shared.countDroppedSpan() }
        if telemetry.spans.isNearlyFull { return telemetry.shared.hand(over: &telemetry.spans) }
        armSpanTimer(telemetry)
    }

    private func armSpanTimer(_ telemetry: WorkerTelemetry) {
        guard !telemetry.isTimerArmed, telemetry.spans.count > 0 else { return }
        telemetry.isTimerArmed = true
        let delay = max(1, telemetry.shared.settings.spanDelayMilliseconds)
        _ = timers.arm(now.adding(milliseconds: delay), payload: TaggedToken(.spans).packed)
    }

    /// Spans have waited long enough. What nobody takes now is offered again later.
    func spanTimerFired() {
        guard let telemetry else { return }
        telemetry.isTimerArmed = false
        telemetry.shared.hand(over: &telemetry.spans)
        armSpanTimer(telemetry)
    }

    /// The worker ends: nothing more comes.
    func handOverSpans() {
        guard let telemetry else { return }
        telemetry.shared.hand(over: &telemetry.spans)
    }
}

extension HTTPVersion {
    /// The number, as OpenTelemetry writes it (`network.protocol.version`).
    fileprivate var number: ByteView {
        switch self {
        case .http10: ByteView("1.0")
        case .http11: ByteView("1.1")
        case .http2: ByteView("2.0")
        }
    }

    /// The name, as Go writes it.
    fileprivate var goName: ByteView {
        switch self {
        case .http10: ByteView("HTTP/1.0")
        case .http11: ByteView("HTTP/1.1")
        case .http2: ByteView("HTTP/2.0")
        }
    }
}
