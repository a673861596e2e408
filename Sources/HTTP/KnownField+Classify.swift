import Primitives

extension KnownField {
    /// The known field that `name` spells in any case, `.other` if none.
    ///
    /// By length first, then one comparison of at most four words for each name of that length.
    public static func classify(_ name: ByteView) -> KnownField {
        switch name.count {
        case ..<10: short(name)
        case 10...14: medium(name)
        case 15...16: long(name)
        default: longest(name)
        }
    }

    private static func short(_ name: ByteView) -> KnownField {
        let base = name.base
        switch name.count {
        case 2:
            if matches(base, "te") { return .te }
            if matches(base, "b3") { return .b3 }
        case 3:
            if matches(base, "via") { return .via }
        case 4:
            if matches(base, "host") { return .host }
            if matches(base, "date") { return .date }
        case 6:
            if matches(base, "expect") { return .expect }
            if matches(base, "server") { return .server }
            if matches(base, "cookie") { return .cookie }
        case 7:
            if matches(base, "trailer") { return .trailer }
            if matches(base, "upgrade") { return .upgrade }
        case 8:
            if matches(base, "location") { return .location }
        case 9:
            if matches(base, "forwarded") { return .forwarded }
            if matches(base, "x-real-ip") { return .xRealIp }
        default: break
        }
        return .other
    }

    private static func medium(_ name: ByteView) -> KnownField {
        let base = name.base
        switch name.count {
        case 10:
            if matches(base, "connection") { return .connection }
            if matches(base, "keep-alive") { return .keepAlive }
            if matches(base, "user-agent") { return .userAgent }
            if matches(base, "tracestate") { return .tracestate }
            if matches(base, "set-cookie") { return .setCookie }
        case 11:
            if matches(base, "retry-after") { return .retryAfter }
            if matches(base, "traceparent") { return .traceparent }
        case 12:
            if matches(base, "content-type") { return .contentType }
            if matches(base, "x-request-id") { return .xRequestId }
            if matches(base, "x-b3-traceid") { return .xB3TraceId }
        case 13:
            if matches(base, "authorization") { return .authorization }
        case 14:
            if matches(base, "content-length") { return .contentLength }
            if matches(base, "k-network-hash") { return .kNetworkHash }
            if matches(base, "http2-settings") { return .http2Settings }
        default: break
        }
        return .other
    }

    private static func long(_ name: ByteView) -> KnownField {
        let base = name.base
        switch name.count {
        case 15:
            if matches(base, "x-forwarded-for") { return .xForwardedFor }
            if matches(base, "k-proxy-request") { return .kProxyRequest }
            if matches(base, "k-original-host") { return .kOriginalHost }
            if matches(base, "k-network-probe") { return .kNetworkProbe }
            if matches(base, "k-kubelet-probe") { return .kKubeletProbe }
            if matches(base, "accept-encoding") { return .acceptEncoding }
        case 16:
            if matches(base, "proxy-connection") { return .proxyConnection }
            if matches(base, "x-forwarded-host") { return .xForwardedHost }
            if matches(base, "x-forwarded-port") { return .xForwardedPort }
            if matches(base, "k-passthrough-lb") { return .kPassthroughLb }
            if matches(base, "content-encoding") { return .contentEncoding }
        default: break
        }
        return .other
    }

    private static func longest(_ name: ByteView) -> KnownField {
        let base = name.base
        switch name.count {
        case 17:
            if matches(base, "transfer-encoding") { return .transferEncoding }
            if matches(base, "x-forwarded-proto") { return .xForwardedProto }
            if matches(base, "knative-direct-lb") { return .knativeDirectLb }
        case 18:
            if matches(base, "proxy-authenticate") { return .proxyAuthenticate }
        case 19:
            if matches(base, "proxy-authorization") { return .proxyAuthorization }
            if matches(base, "knative-serving-tag") { return .knativeServingTag }
        case 24:
            if matches(base, "knative-serving-revision") { return .knativeServingRevision }
        case 25:
            if matches(base, "knative-serving-namespace") { return .knativeServingNamespace }
        case 29:
            if matches(base, "knative-serving-default-route") { return .knativeServingDefaultRoute }
        case 35:
            if matches(base, "x-envoy-immediate-health-check-fail") { return .xEnvoyImmediateHealthCheckFail }
        default: break
        }
        return .other
    }

    /// Whether the bytes at `base`, as many as `name` has, are `name` in any case. `name` is lower case, not one byte.
    ///
    /// Words overlap at the end, so nothing is read beyond the name.
    @inline(__always)
    private static func matches(_ base: UnsafePointer<UInt8>, _ name: StaticString) -> Bool {
        let count = name.utf8CodeUnitCount
        let left = UnsafeRawPointer(base)
        let right = UnsafeRawPointer(name.utf8Start)
        if count >= 8 {
            var offset = 0
            while offset &+ 8 <= count {
                if !sameWord(left, right, offset, UInt64.self) { return false }
                offset &+= 8
            }
            return offset == count || sameWord(left, right, count &- 8, UInt64.self)
        }
        if count >= 4 { return sameWord(left, right, 0, UInt32.self) && sameWord(left, right, count &- 4, UInt32.self) }
        return sameWord(left, right, 0, UInt16.self) && sameWord(left, right, count &- 2, UInt16.self)
    }

    /// Compares one word. Only where `right` has a small letter (its bit 0x40 is set) bit 0x20 of `left` is ignored.
    @inline(__always)
    private static func sameWord<Word: FixedWidthInteger & BitwiseCopyable>(
        _ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ offset: Int, _ type: Word.Type
    ) -> Bool {
        let expected = right.loadUnaligned(fromByteOffset: offset, as: type)
        let found = left.loadUnaligned(fromByteOffset: offset, as: type)
        let letters = (expected & Word(truncatingIfNeeded: 0x4040_4040_4040_4040 as UInt64)) &>> 1
        return found | letters == expected
    }
}
