/// A request as a strict reader of HTTP/1.1 understands it, written apart from the parsers it judges: whatever two
/// readers could take for different things is bad.
struct StrictRequest: Equatable, CustomStringConvertible {
    var method = ""
    var target = ""
    var version = ""
    var fields: [(String, String)] = []
    var body: [UInt8] = []
    var trailers: [(String, String)] = []

    enum Verdict {
        case request(StrictRequest, count: Int)
        case needMore
        case bad(String)
    }

    var description: String { "\(method) \(target) \(fields.map(\.0)) body \(body.count)" }

    func values(_ name: String) -> [String] { fields.filter { $0.0.lowercased() == name }.map(\.1) }

    static func == (left: Self, right: Self) -> Bool {
        left.method == right.method && left.target == right.target && left.body == right.body
    }

    /// Reads one request from `bytes`. `isForwarded`: as a proxy may write it, without the freedoms of clients (empty
    /// lines before it, space around values, extensions of chunks, HTTP/1.0, absolute targets).
    static func parse(_ bytes: ArraySlice<UInt8>, isForwarded: Bool) -> Verdict {
        var at = bytes.startIndex
        if !isForwarded { while bytes[at...].starts(with: [13, 10]) { at += 2 } }
        guard let end = find([13, 10, 13, 10], bytes[at...]) else {
            return bytes[at...].contains(0) ? .bad("NUL") : .needMore
        }
        var request = StrictRequest()
        var lines = lines(bytes[at..<end])
        let first = lines.removeFirst().split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard first.count == 3, isToken(first[0]), !first[1].isEmpty, first[1].unicodeScalars.allSatisfy(isVisible)
        else { return .bad("the request line \(first)") }
        (request.method, request.target, request.version) = (first[0], first[1], first[2])
        guard request.version == "HTTP/1.1" || (!isForwarded && request.version == "HTTP/1.0") else {
            return .bad("the version \(request.version)")
        }
        for line in lines {
            guard let field = field(line, isForwarded) else { return .bad("the line \(line.debugDescription)") }
            request.fields.append(field)
        }
        if let problem = request.problem(isForwarded) { return .bad(problem) }
        return request.takeBody(bytes, from: end + 4, isForwarded)
    }

    private func problem(_ isForwarded: Bool) -> String? {
        let hosts = values("host"), lengths = values("content-length"), codings = values("transfer-encoding")
        if hosts.count > 1 || (hosts.isEmpty && version == "HTTP/1.1") { return "\(hosts.count) Host fields" }
        if lengths.count > 1 || (!lengths.isEmpty && !codings.isEmpty) { return "two framings" }
        if codings.count > 1 || codings.contains(where: { $0.lowercased() != "chunked" }) { return "codings" }
        if !codings.isEmpty, version == "HTTP/1.0" { return "chunks in HTTP/1.0" }
        if let length = lengths.first, length.isEmpty || !length.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }) {
            return "the length \(length)"
        }
        guard isForwarded else { return nil }
        let isOrigin = target.hasPrefix("/") || (target == "*" && method == "OPTIONS")
        if !isOrigin || target.contains("#") { return "the target \(target)" }
        let host = hosts[0].lowercased()
        return host == ProxyHarness.host || host.hasPrefix(ProxyHarness.host + ":") ? nil : "the host \(host)"
    }

    private mutating func takeBody(_ bytes: ArraySlice<UInt8>, from start: Int, _ isForwarded: Bool) -> Verdict {
        var at = start
        if values("transfer-encoding").isEmpty {
            let text = values("content-length").first ?? "0"
            guard let length = Int(text) else { return .needMore }
            guard bytes.endIndex - at >= length else { return .needMore }
            body = Array(bytes[at..<at + length])
            return .request(self, count: at + length - bytes.startIndex)
        }
        while true {
            guard let end = find([13, 10], bytes[at...]) else { return .needMore }
            let line = Self.lines(bytes[at..<end])[0]
            let digits = line.prefix { $0 != ";" && (isForwarded || ($0 != " " && $0 != "\t")) }
            let rest = line.dropFirst(digits.count)
            guard !digits.isEmpty, digits.utf8.count <= 16, digits.allSatisfy(\.isHexDigit),
                rest.isEmpty || !isForwarded,
                let size = Int(digits, radix: 16), !line.contains("\n"), !line.contains("\r")
            else { return .bad("the chunk line \(line.debugDescription)") }
            at = end + 2
            if size == 0 { break }
            guard bytes.endIndex - at >= size + 2 else { return .needMore }
            body += bytes[at..<at + size]
            guard bytes[(at + size)...].starts(with: [13, 10]) else { return .bad("the end of a chunk") }
            at += size + 2
        }
        while true {
            guard let end = find([13, 10], bytes[at...]) else { return .needMore }
            let line = Self.lines(bytes[at..<end])[0]
            at = end + 2
            if line.isEmpty { return .request(self, count: at - bytes.startIndex) }
            guard let field = Self.field(line, isForwarded) else { return .bad("the trailer \(line.debugDescription)") }
            trailers.append(field)
        }
    }

    private static func field(_ line: String, _ isForwarded: Bool) -> (String, String)? {
        guard let colon = line.firstIndex(of: ":") else { return nil }
        let name = String(line[..<colon])
        var value = Substring(line[line.index(after: colon)...])
        if isForwarded {
            guard value.first == " " else { return nil }
            value = value.dropFirst()
            guard value.first != " ", value.last != " ", value.first != "\t", value.last != "\t" else { return nil }
        } else {
            while let first = value.first, first == " " || first == "\t" { value = value.dropFirst() }
            while let last = value.last, last == " " || last == "\t" { value = value.dropLast() }
        }
        return isToken(name) && isValue(String(value)) ? (name, String(value)) : nil
    }

    static func isToken(_ text: String) -> Bool {
        let others = "!#$%&'*+-.^_`|~"
        return !text.isEmpty
            && text.unicodeScalars.allSatisfy {
                $0.isASCII
                    && ($0.properties.isAlphabetic || (48...57).contains($0.value) || others.contains(Character($0)))
            }
    }

    static func isValue(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { ($0.value >= 32 && $0.value != 127) || $0 == "\t" }
    }

    static func isVisible(_ scalar: Unicode.Scalar) -> Bool { scalar.value > 32 && scalar.value < 127 }

    /// Lines as characters of Latin-1, so that every byte is one and CR LF is not.
    private static func lines(_ bytes: ArraySlice<UInt8>) -> [String] {
        var lines: [String] = [], line = String.UnicodeScalarView(), at = bytes.startIndex
        while at < bytes.endIndex {
            if bytes[at] == 13, at + 1 < bytes.endIndex, bytes[at + 1] == 10 {
                lines.append(String(line))
                line = String.UnicodeScalarView()
                at += 2
            } else {
                line.append(Unicode.Scalar(bytes[at]))
                at += 1
            }
        }
        return lines + [String(line)]
    }

    private func find(_ wanted: [UInt8], _ bytes: ArraySlice<UInt8>) -> Int? { Self.find(wanted, bytes) }

    static func find(_ wanted: [UInt8], _ bytes: ArraySlice<UInt8>) -> Int? {
        guard bytes.count >= wanted.count else { return nil }
        for at in bytes.startIndex...(bytes.endIndex - wanted.count) where bytes[at] == wanted[0] {
            if bytes[at..<at + wanted.count].elementsEqual(wanted) { return at }
        }
        return nil
    }
}
