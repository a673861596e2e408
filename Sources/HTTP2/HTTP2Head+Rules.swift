import HTTP
import Primitives

/// What may stand in a head (RFC 9113 §8.2, §8.3; RFC 8441 §4). nghttp2's own checks are switched off: the rules are
/// ours, tested as a table, and do not change with the library.
extension HTTP2Head {
    /// Takes the next field of the block.
    mutating func take(_ name: ByteView, _ value: ByteView) {
        listBytes += name.count + value.count + 32
        if listBytes > bounds.list {
            refuse(.headTooLarge)
            if listBytes > bounds.bomb { verdict = .bomb }
        }
        guard case .fine = verdict else { return checkOnly(name, value) }
        guard Self.isValue(value) else { return malform() }
        if name.count > 0, name.base[0] == Byte.colon { return takePseudo(name, value) }
        hasRegularField = true
        guard ByteClass.isLowercaseToken(name) else { return malform() }
        guard name.count <= bounds.name else { return refuse(.fieldNameTooLong) }
        guard value.count <= bounds.value else { return refuse(.fieldValueTooLong) }
        takeField(name, value, KnownField.classify(name))
    }

    /// A refused request must still be one: what is malformed is reset, not answered.
    private mutating func checkOnly(_ name: ByteView, _ value: ByteView) {
        guard verdict != .bomb, verdict != .malformed else { return }
        let isPseudo = name.count > 0 && name.base[0] == Byte.colon
        if !isPseudo { hasRegularField = true }
        let isFine = Self.isValue(value) && (isPseudo ? !hasRegularField : ByteClass.isLowercaseToken(name))
        if !isFine { malform() }
    }

    mutating func malform() { if verdict != .bomb { verdict = .malformed } }

    mutating func refuse(_ reason: ParseFailure.Reason) { if verdict == .fine { verdict = .refused(reason) } }

    // MARK: Pseudo-fields

    private mutating func takePseudo(_ name: ByteView, _ value: ByteView) {
        guard !hasRegularField, kind != .trailers, let field = Self.pseudoField(name), !seen.contains(field) else {
            return malform()
        }
        guard (field == .status) == (kind == .response) else { return malform() }
        seen.insert(field)
        switch field {
        case .method:
            guard ByteClass.isToken(value) else { return malform() }
            methodBytes = store(value)
            method = Method(value)
        case .scheme:
            guard Self.isScheme(value) else { return malform() }
            scheme = store(value)
            let isHTTP = value.equalsIgnoringCase("http") || value.equalsIgnoringCase("https")
            if !isHTTP { refuse(.unsupportedScheme) }
        case .authority:
            guard let host = try? Authority.host(value, at: 0..<value.count) else { return malform() }
            authority = store(value)
            self.host = authority.lowerBound..<authority.lowerBound + host.count
        case .path:
            guard Self.isPath(value) else { return malform() }
            guard value.count <= bounds.path else { return refuse(.requestLineTooLong) }
            path = store(value)
        case .protocolName:
            guard ByteClass.isToken(value) else { return malform() }
            protocolName = store(value)
        default: takeStatus(value)
        }
    }

    private mutating func takeStatus(_ value: ByteView) {
        guard value.count == 3 else { return malform() }
        var code = 0
        for index in 0..<3 {
            guard ASCII.isDigit(value.base[index]) else { return malform() }
            code = code * 10 + Int(value.base[index] & 15)
        }
        guard code >= 100, code != 101 else { return malform() }
        status = code
    }

    private static func pseudoField(_ name: ByteView) -> PseudoFields? {
        switch name.count {
        case 5: name.equals(":path") ? .path : nil
        case 7:
            name.equals(":method") ? .method : name.equals(":scheme") ? .scheme : name.equals(":status") ? .status : nil
        case 9: name.equals(":protocol") ? .protocolName : nil
        case 10: name.equals(":authority") ? .authority : nil
        default: nil
        }
    }

    // MARK: Fields

    private mutating func takeField(_ name: ByteView, _ value: ByteView, _ known: KnownField) {
        var isHopByHop = false
        switch known {
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade: return malform()
        case .te:
            guard value.equalsIgnoringCase("trailers"), kind != .response else { return malform() }
            acceptsTrailers = true
        case .host:
            if kind != .trailers { return kind == .request ? takeHost(value) : malform() }
        case .cookie:
            // Empty crumbs carry nothing, and joined they would read `; `.
            if kind == .request { return value.isEmpty ? () : storeCrumb(value) }
        case .contentLength where kind != .trailers:
            guard !fields.present.contains(.contentLength), takeContentLength(value) else { return malform() }
        case .expect where kind == .request:
            guard value.equalsIgnoringCase("100-continue") else { return refuse(.unknownExpectation) }
            expectsContinue = true
        default: break
        }
        isHopByHop = KnownFieldSet.hopByHop.contains(known)
        if kind == .trailers { isHopByHop = isHopByHop || FieldRules.isForbiddenInTrailers(known, name) }
        guard fields.count < fieldLimit, storeLine(name, value, known, isHopByHop: isHopByHop) else {
            return refuse(.tooManyFields)
        }
    }

    /// `Host` beside `:authority` must say the same; alone it takes its place (RFC 9113 §8.3.1). It becomes the one
    /// host line either way.
    private mutating func takeHost(_ value: ByteView) {
        if fields.present.contains(.host) { return malform() }
        if seen.contains(.authority) {
            guard bytes[authority].matchesIgnoringCase(value) else { return malform() }
        } else {
            guard let host = try? Authority.host(value, at: 0..<value.count) else { return malform() }
            authority = store(value)
            self.host = authority.lowerBound..<authority.lowerBound + host.count
        }
        storeHostLine(authority)
    }

    private mutating func takeContentLength(_ value: ByteView) -> Bool {
        guard !value.isEmpty, value.count <= 19 else { return false }
        var length: UInt64 = 0
        for index in 0..<value.count {
            guard ASCII.isDigit(value.base[index]) else { return false }
            length = length &* 10 &+ UInt64(value.base[index] & 15)
        }
        contentLength = length
        return length <= HTTPLimits.maximumBodyBytes
    }

    // MARK: The end

    /// The block is complete: what only the whole of it shows.
    mutating func finish(endsStream: Bool, allowsWebSocket: Bool) {
        self.endsStream = endsStream
        guard verdict != .malformed, verdict != .bomb else { return }
        switch kind {
        case .trailers: if !endsStream { malform() }
        case .response: finishResponse()
        case .request: finishRequest(allowsWebSocket: allowsWebSocket)
        }
        assert(verdict != .fine || kind != .request || fields.present.contains(.host))
    }

    private mutating func finishResponse() {
        guard seen == .status || verdict != .fine else { return malform() }
        if isInterim, endsStream { return malform() }
        guard status < 200 || status == 204, let index = fields.firstIndex(of: .contentLength) else { return }
        // A length on a response that cannot have a body must not be there (RFC 9110 §8.6); of 0 it is passed over,
        // since servers in use send it with a 204.
        if status < 200 || contentLength != 0 { return malform() }
        fields.markHopByHop(index)
        contentLength = nil
    }

    /// How long the body must be; nil if that was not said.
    ///
    /// - Parameter method: That of the request which a response answers (RFC 9110 §8.6, §15.4.5).
    func promisedBytes(toRequest method: Method) -> UInt64? {
        guard kind == .response else { return contentLength }
        if method == .head || status == 204 || status == 304 { return 0 }
        return method == .connect ? nil : contentLength
    }

    private mutating func finishRequest(allowsWebSocket: Bool) {
        if case .refused(let reason) = verdict {
            // Its fields were not all kept, but a request it must be.
            if reason != .headTooLarge, reason != .requestLineTooLong, !seen.contains(.method) { malform() }
            return
        }
        guard seen.contains(.method) else { return malform() }
        if method == .connect {
            guard seen.contains(.protocolName) else { return finishConnect() }
            guard allowsWebSocket, seen.contains([.scheme, .path, .authority]) else { return malform() }
            guard bytes[protocolName].equalsIgnoringCase("websocket") else { return refuse(.connectUnsupported) }
        } else if seen.contains(.protocolName) || !seen.contains([.scheme, .path]) {
            return malform()
        }
        if path.count == 1, bytes[path].equals("*"), method != .options { return malform() }
        guard !authority.isEmpty else { return malform() }
        if endsStream, let contentLength, contentLength > 0 { return malform() }
        if isWebSocket { leaveOutOfHandshake() }
        if !fields.present.contains(.host) { storeHostLine(authority) }
        storeCookieLine()
    }

    /// What must not stand in the handshake of HTTP/1.1 that an extended CONNECT becomes: a length, since what follows
    /// is no content (RFC 9110 §9.3.6), and a key, which is the proxy's (RFC 8441 §5).
    private mutating func leaveOutOfHandshake() {
        contentLength = nil
        for index in 0..<fields.count {
            let isKey = fields.name(index, in: bytes).equals("sec-websocket-key")
            if isKey || fields[index].known == .contentLength { fields.markHopByHop(index) }
        }
    }

    /// CONNECT proper has no scheme and no path (RFC 9113 §8.5); this is no tunnel to anywhere.
    private mutating func finishConnect() {
        guard !seen.contains(.scheme), !seen.contains(.path), seen.contains(.authority) else { return malform() }
        refuse(.connectUnsupported)
    }

    // MARK: Characters

    /// A field value: no control byte but tab, no white space around it (RFC 9113 §8.2.1, RFC 9110 §5.5).
    private static func isValue(_ value: ByteView) -> Bool {
        guard !value.isEmpty else { return true }
        let (first, last) = (value.base[0], value.base[value.count - 1])
        if first == Byte.space || first == Byte.tab || last == Byte.space || last == Byte.tab { return false }
        return ByteClass.isFieldValue(value)
    }

    /// Path and query: visible ASCII without `#`, as HTTP/1.1's, beginning with `/`; or `*`.
    private static func isPath(_ path: ByteView) -> Bool {
        guard !path.isEmpty, path.base[0] == UInt8(ascii: "/") || path.equals("*") else { return false }
        return ByteClass.isTarget(path)
    }

    private static func isScheme(_ scheme: ByteView) -> Bool {
        if scheme.equals("http") || scheme.equals("https") { return true }
        for index in 0..<scheme.count {
            let byte = scheme.base[index]
            let isLetter = (byte | 0x20) &- 0x61 < 26
            let isOther =
                ASCII.isDigit(byte) || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
                || byte == UInt8(ascii: ".")
            guard isLetter || (index > 0 && isOther) else { return false }
        }
        return !scheme.isEmpty
    }
}
