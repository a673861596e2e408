import HTTP
import Primitives

extension RequestHead {
    /// How many empty lines are skipped before a request: some clients end a body with one too many (RFC 9112 §2.2).
    static var maximumEmptyLines: Int { 2 }

    /// Reads the request line. Returns the offset after it; nil if the view ends before that.
    @inline(__always)
    mutating func parseLine(_ bytes: ByteView) throws(ParseFailure) -> Int? {
        guard let first = try skipEmptyLines(bytes) else { return nil }
        start = first
        // The line is read through a window as long as a line may be, so the limit bites at the same byte however the
        // request arrives.
        let longest = limits.requestLineBytes &+ 2
        let isCut = bytes.count &- first >= longest
        let line = isCut ? bytes[0..<first &+ longest] : bytes
        guard let end = try parseParts(line) else {
            if isCut { throw ParseFailure(.requestLineTooLong, offset: first &+ limits.requestLineBytes) }
            return nil
        }
        return end
    }

    /// Returns the offset after the empty lines before the request; nil if the view ends inside one.
    @inline(__always)
    private func skipEmptyLines(_ bytes: ByteView) throws(ParseFailure) -> Int? {
        var index = 0
        while index < bytes.count, bytes.base[index] == Byte.cr {
            guard index < 2 &* Self.maximumEmptyLines else { throw ParseFailure(.tooManyEmptyLines, offset: index) }
            guard try LineScan.lineEnd(bytes, at: index) else { return nil }
            index &+= 2
        }
        return index
    }

    @inline(__always)
    private mutating func parseParts(_ line: ByteView) throws(ParseFailure) -> Int? {
        guard let methodEnd = try methodEnd(line) else { return nil }
        let targetStart = methodEnd &+ 1
        let targetEnd = LineScan.endOfTarget(line, from: targetStart)
        guard targetEnd < line.count else { return nil }
        guard targetEnd > targetStart, line.base[targetEnd] == Byte.space else {
            throw targetFailure(line.base[targetEnd], isEmpty: targetEnd == targetStart, at: targetEnd)
        }
        guard let parsed = try StartLine.version(line, at: targetEnd &+ 1) else { return nil }
        guard let end = try StartLine.end(line, at: parsed.end, otherwise: .invalidVersion) else { return nil }
        methodBytes = start..<methodEnd
        method = line[start..<targetStart].isGet ? .get : Method(line[methodBytes])
        target = targetStart..<targetEnd
        guard let known = parsed.known else {
            let isPreface = parsed.major == 2 && parsed.minor == 0 && line[start..<targetEnd].equals("PRI *")
            throw ParseFailure(isPreface ? .http2Preface : .unsupportedVersion, offset: targetEnd &+ 1)
        }
        version = known
        return end
    }

    @inline(__always)
    private func methodEnd(_ line: ByteView) throws(ParseFailure) -> Int? {
        if start &+ 4 <= line.count, line[start..<start &+ 4].isGet {
            return start &+ 3  // most requests; the rest of this function would say the same
        }
        let end = LineScan.endOfToken(line, from: start)
        guard end < line.count else { return nil }
        let byte = line.base[end]
        guard byte == Byte.space, end > start else {
            let isControl = byte < 0x20 && byte != Byte.cr
            throw ParseFailure(isControl ? LineScan.lineFailure(byte) : .invalidMethod, offset: end)
        }
        return end
    }

    /// What is wrong with a target that ends at `byte` instead of a space.
    private func targetFailure(_ byte: UInt8, isEmpty: Bool, at offset: Int) -> ParseFailure {
        switch byte {
        case UInt8(ascii: "#"): ParseFailure(.fragmentInTarget, offset: offset)
        case Byte.space: ParseFailure(.emptyTarget, offset: offset)
        case Byte.cr: ParseFailure(isEmpty ? .emptyTarget : .invalidVersion, offset: offset)
        case Byte.lf: ParseFailure(.bareLF, offset: offset)
        default: ParseFailure(.invalidTarget, offset: offset)
        }
    }

    /// Finds the form of the target (RFC 9112 §3.2). Paths stay as received: no dot segments removed, nothing decoded.
    @inline(__always)
    mutating func resolveTarget(_ bytes: ByteView) throws(ParseFailure) {
        targetPrefix = ""
        pathAndQuery = target
        authority = 0..<0
        guard method != .connect else { throw ParseFailure(.connectUnsupported, offset: start) }
        if bytes[target.lowerBound] == UInt8(ascii: "/") { return }
        try resolveRareTarget(bytes)
    }

    /// Asterisk-form or absolute-form.
    private mutating func resolveRareTarget(_ bytes: ByteView) throws(ParseFailure) {
        let view = bytes[target]
        if view.equals("*"), method == .options { return }
        guard let colon = view.firstIndex(of: Byte.colon), view.dropping(first: colon).hasPrefix("://") else {
            throw ParseFailure(.invalidTarget, offset: target.lowerBound)
        }
        let scheme = view[0..<colon]
        guard scheme.equalsIgnoringCase("http") || scheme.equalsIgnoringCase("https") else {
            throw ParseFailure(.unsupportedScheme, offset: target.lowerBound)
        }
        var index = target.lowerBound + colon + 3
        let authorityStart = index
        while index < target.upperBound, bytes[index] != UInt8(ascii: "/"), bytes[index] != UInt8(ascii: "?") {
            index += 1
        }
        authority = authorityStart..<index
        guard !authority.isEmpty else { throw ParseFailure(.emptyHost, offset: authorityStart) }
        pathAndQuery = index..<target.upperBound
        if pathAndQuery.isEmpty {
            targetPrefix = method == .options ? "*" : "/"
        } else if bytes[index] == UInt8(ascii: "?") {
            targetPrefix = "/"
        }
    }

    /// Finds the one host that decides (RFC 9112 §3.2, §3.3). An absolute-form target and `Host` must agree.
    @inline(__always)
    mutating func resolveHost(_ bytes: ByteView) throws(ParseFailure) {
        guard let index = fields.firstIndex(of: .host) else {
            guard version == .http10 else { throw ParseFailure(.missingHost, offset: start) }
            host = authority.isEmpty ? authority : try Authority.host(bytes, at: authority)
            return
        }
        let line = fields[index]
        guard !fields.repeated.contains(.host) else {
            throw ParseFailure(.severalHosts, offset: Int(line.nameStart))
        }
        if !authority.isEmpty {
            guard bytes[authority].matchesIgnoringCase(bytes[line.valueRange]) else {
                throw ParseFailure(.hostMismatch, offset: Int(line.valueStart))
            }
        } else {
            authority = line.valueRange
        }
        host = try Authority.host(bytes, at: authority)
    }
}

extension ByteView {
    /// Whether these four bytes are `GET` and a space.
    @inline(__always)
    fileprivate var isGet: Bool {
        count == 4 && UnsafeRawPointer(base).loadUnaligned(as: UInt32.self) == UInt32(littleEndian: 0x2054_4547)
    }
}
