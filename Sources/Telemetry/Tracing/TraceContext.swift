import Primitives

/// Which trace a request belongs to, and which span of it is its parent (W3C Trace Context).
public struct TraceContext: Equatable, Sendable {
    /// Length of a `traceparent` in bytes.
    public static let traceparentLength = 55

    /// The trace's id, first and last eight bytes; not both are zero.
    public var traceHigh: UInt64
    /// The last eight bytes of the trace's id.
    public var traceLow: UInt64
    /// The span's id, not zero.
    public var spanID: UInt64
    /// Bit 0: sampled; bit 1: the id of the trace is random. Others are not passed on.
    public var flags: UInt8

    /// Whether spans of this trace are recorded.
    public var isSampled: Bool { flags & 1 != 0 }

    /// A context of the given ids.
    public init(traceHigh: UInt64, traceLow: UInt64, spanID: UInt64, flags: UInt8) {
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.spanID = spanID
        self.flags = flags & 3
    }

    /// Reads a `traceparent` (W3C Trace Context §3.2); nil if it is not valid, which means there is no context.
    ///
    /// Lower-case digits only, no id of zeros, version 00 with nothing behind the flags; of a later version what is
    /// known.
    public init?(traceparent text: ByteView) {
        guard text.count >= TraceContext.traceparentLength, text[2] == UInt8(ascii: "-"), text[35] == UInt8(ascii: "-"),
            text[52] == UInt8(ascii: "-"), let version = TraceContext.hex(text[0..<2], upper: false), version != 0xFF,
            let high = TraceContext.hex(text[3..<19], upper: false),
            let low = TraceContext.hex(text[19..<35], upper: false),
            let span = TraceContext.hex(text[36..<52], upper: false),
            let flags = TraceContext.hex(text[53..<55], upper: false), high | low != 0, span != 0
        else { return nil }
        if text.count > TraceContext.traceparentLength {
            guard version > 0, text[TraceContext.traceparentLength] == UInt8(ascii: "-") else { return nil }
        }
        self.init(traceHigh: high, traceLow: low, spanID: span, flags: UInt8(flags))
    }

    /// Reads B3's one-header form: `{trace}-{span}[-{sampled}[-{parent}]]`; nil if it is not valid or has no ids.
    public init?(b3 text: ByteView) {
        guard let first = text.firstIndex(of: UInt8(ascii: "-")) else { return nil }
        let rest = text.dropping(first: first + 1)
        let second = rest.firstIndex(of: UInt8(ascii: "-")) ?? rest.count
        var state = rest.dropping(first: min(rest.count, second + 1))
        if let third = state.firstIndex(of: UInt8(ascii: "-")) {
            guard let parent = TraceContext.hex(state.dropping(first: third + 1), upper: true),
                state.count - third == 17, parent != 0
            else { return nil }
            state = state[0..<third]
        }
        self.init(b3TraceID: text[0..<first], spanID: rest[0..<second], sampled: state, flags: .empty)
    }

    /// Reads B3's `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled`, `X-B3-Flags`; those that are absent are empty.
    ///
    /// A trace's id of 16 digits counts as one of 32 with zeros before it. No word about sampling means sampled: who
    /// sent an id meant the trace to be seen.
    public init?(b3TraceID trace: ByteView, spanID span: ByteView, sampled: ByteView, flags: ByteView) {
        guard trace.count == 16 || trace.count == 32, span.count == 16,
            let low = TraceContext.hex(trace.dropping(first: trace.count - 16), upper: true),
            let high = trace.count == 16 ? 0 : TraceContext.hex(trace[0..<16], upper: true),
            let spanID = TraceContext.hex(span, upper: true), high | low != 0, spanID != 0
        else { return nil }
        let isDebug = flags.equals("1") || sampled.equals("d")
        let isYes = sampled.isEmpty || sampled.equals("1") || sampled.equalsIgnoringCase("true")
        guard isDebug || isYes || sampled.equals("0") || sampled.equalsIgnoringCase("false") else { return nil }
        self.init(traceHigh: high, traceLow: low, spanID: spanID, flags: isDebug || isYes ? 1 : 0)
    }

    /// The first context of a new trace. `random` must be seeded so that no two workers draw the same ids.
    public static func root(isSampled: Bool, random: inout SeededRandom) -> TraceContext {
        TraceContext(
            traceHigh: random.next(), traceLow: identifier(&random), spanID: identifier(&random),
            flags: isSampled ? 1 : 0)
    }

    /// The context of a span below this one.
    public func child(isSampled: Bool, random: inout SeededRandom) -> TraceContext {
        TraceContext(
            traceHigh: traceHigh, traceLow: traceLow, spanID: TraceContext.identifier(&random),
            flags: flags & 2 | (isSampled ? 1 : 0))
    }

    /// Appends the value of `traceparent`: version 00, 55 bytes.
    public func write(to writer: inout ByteWriter) {
        writer.append("00-")
        writeTraceID(to: &writer)
        writer.append(UInt8(ascii: "-"))
        writer.append(hexDigits: UInt32(truncatingIfNeeded: spanID >> 32))
        writer.append(hexDigits: UInt32(truncatingIfNeeded: spanID))
        writer.append(isSampled ? (flags & 2 != 0 ? "-03" : "-01") : (flags & 2 != 0 ? "-02" : "-00"))
    }

    /// Appends the 32 digits of the trace's id.
    public func writeTraceID(to writer: inout ByteWriter) {
        writer.append(hexDigits: UInt32(truncatingIfNeeded: traceHigh >> 32))
        writer.append(hexDigits: UInt32(truncatingIfNeeded: traceHigh))
        writer.append(hexDigits: UInt32(truncatingIfNeeded: traceLow >> 32))
        writer.append(hexDigits: UInt32(truncatingIfNeeded: traceLow))
    }

    /// A random number that is not zero.
    private static func identifier(_ random: inout SeededRandom) -> UInt64 {
        let first = random.next()
        return first != 0 ? first : 1
    }

    /// The value of 1 to 16 hexadecimal digits; nil for anything else.
    static func hex(_ text: ByteView, upper allowsUpper: Bool) -> UInt64? {
        guard text.count >= 1, text.count <= 16 else { return nil }
        var value: UInt64 = 0
        for index in 0..<text.count {
            let byte = text.base[index]
            guard let digit = ASCII.hexValue(byte), allowsUpper || ASCII.lowercased(byte) == byte else { return nil }
            value = value << 4 | UInt64(digit)
        }
        return value
    }
}

/// Whether a trace is recorded, as Knative's settings say (`tracing.samplingRate`, `OTEL_TRACES_SAMPLER`).
///
/// Source: Knative `pkg/observability/tracing/provider.go` and OpenTelemetry's `TraceIdRatioBased`, `ParentBased`.
public struct TraceSampler: Equatable, Sendable {
    /// Share of the new traces that is recorded: 1 and more all, 0 and less none.
    public let rate: Double
    /// Whether the decision of a caller goes before the rate.
    public let followsParent: Bool

    /// A sampler of that rate; NaN counts as 0. As in Knative, 1 and more records all, whatever a caller says, 0 none,
    /// likewise; between them the caller's decision goes first.
    public init(rate: Double) { self.init(rate: rate, followsParent: rate > 0 && rate < 1) }

    /// A sampler of that rate; NaN counts as 0.
    public init(rate: Double, followsParent: Bool) {
        self.rate = rate.isNaN ? 0 : rate
        self.followsParent = followsParent
    }

    /// Whether to record a span of `context`.
    ///
    /// - Parameter hasParent: whether the context came from a caller, who has decided already.
    public func samples(_ context: TraceContext, hasParent: Bool) -> Bool {
        if hasParent, followsParent { return context.isSampled }
        if rate >= 1 { return true }
        if rate <= 0 { return false }
        return context.traceLow >> 1 < UInt64(rate * 0x1p63)
    }
}
