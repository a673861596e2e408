import HTTP
import Testing

@testable import HTTP1

/// One request that must be refused, and why.
struct Refusal: Sendable, CustomStringConvertible {
    var text: String
    var reason: ParseFailure.Reason
    var description: String { "\(reason): \(text.debugDescription.prefix(120))" }

    init(_ text: String, _ reason: ParseFailure.Reason) {
        self.text = text
        self.reason = reason
    }

    /// A GET with these field lines.
    static func fields(_ lines: String, _ reason: ParseFailure.Reason) -> Refusal {
        Refusal("GET / HTTP/1.1\r\nHost: h\r\n\(lines)\r\n\r\n", reason)
    }

    /// A GET with this `Host`.
    static func host(_ value: String, _ reason: ParseFailure.Reason) -> Refusal {
        Refusal("GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n", reason)
    }

    /// A request with this first line.
    static func line(_ line: String, _ reason: ParseFailure.Reason) -> Refusal {
        Refusal("\(line)\r\nHost: h\r\n\r\n", reason)
    }

    static func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }

    static let firstLines: [Refusal] = [
        line("G@T / HTTP/1.1", .invalidMethod), line(" GET / HTTP/1.1", .invalidMethod),
        line("GET", .invalidMethod), line("G\u{80}T / HTTP/1.1", .invalidMethod),
        line("\u{16}\u{3}\u{1}", .controlByte),
        line("G\0T / HTTP/1.1", .controlByte), line("\nGET / HTTP/1.1", .bareLF), line("\rGET / HTTP/1.1", .bareCR),
        line("GET  / HTTP/1.1", .emptyTarget), line("GET ", .emptyTarget), line("GET /", .invalidVersion),
        line("GET / ", .invalidVersion), line("GET /  HTTP/1.1", .invalidVersion),
        line("GET / HTTP/1.1 ", .invalidVersion), line("GET / HTTP/1.1x", .invalidVersion),
        line("GET / HTTP/1.10", .invalidVersion), line("GET / http/1.1", .invalidVersion),
        line("GET / HTTP/1,1", .invalidVersion), line("GET / HTTP/x.1", .invalidVersion),
        line("GET / HTTP/11", .invalidVersion), line("GET / HTTPS/1.1", .invalidVersion),
        line("GET / HTTP/0.9", .unsupportedVersion), line("GET / HTTP/2.0", .unsupportedVersion),
        line("GET / HTTP/3.0", .unsupportedVersion), line("PRI * HTTP/2.0", .http2Preface),
        line("PRI /x HTTP/2.0", .unsupportedVersion), line("PRI * HTTP/2.1", .unsupportedVersion),
        line("GET /#f HTTP/1.1", .fragmentInTarget), line("GET /\tx HTTP/1.1", .invalidTarget),
        line("GET /\u{7f} HTTP/1.1", .invalidTarget), line("GET /\u{e9} HTTP/1.1", .invalidTarget),
        line("GET /\0 HTTP/1.1", .invalidTarget), line("GET /\nx HTTP/1.1", .bareLF),
        line("GET x HTTP/1.1", .invalidTarget), line("GET ?q HTTP/1.1", .invalidTarget),
        line("GET * HTTP/1.1", .invalidTarget), line("OPTIONS ** HTTP/1.1", .invalidTarget),
        line("GET h:80 HTTP/1.1", .invalidTarget), line("GET http:/h HTTP/1.1", .invalidTarget),
        line("GET ftp://h/ HTTP/1.1", .unsupportedScheme), line("GET ://h/ HTTP/1.1", .unsupportedScheme),
        line("CONNECT h:443 HTTP/1.1", .connectUnsupported), line("CONNECT / HTTP/1.1", .connectUnsupported),
        line("GET / HTTP/1.1\r", .bareCR), Refusal("GET / HTTP/1.1\nHost: h\n\n", .bareLF),
        line("GET /" + repeated("a", 8179) + " HTTP/1.1", .requestLineTooLong),
        Refusal(repeated("A", 9000), .requestLineTooLong),
        Refusal("GET /" + repeated("a", 9000), .requestLineTooLong),
    ]

    static let hosts: [Refusal] = [
        Refusal("GET / HTTP/1.1\r\n\r\n", .missingHost), Refusal("GET http://h/ HTTP/1.1\r\n\r\n", .missingHost),
        Refusal("GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", .severalHosts),
        Refusal("GET / HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", .severalHosts),
        host("", .emptyHost), host(":80", .invalidHost), host("a b", .invalidHost), host("a,b", .invalidHost),
        host("u@h", .invalidHost), host("u:p@h", .invalidHost), host("h/x", .invalidHost), host("h?x", .invalidHost),
        host("h#x", .invalidHost), host("h\\x", .invalidHost), host("h%41", .invalidHost), host("*.h", .invalidHost),
        host("h\u{e9}", .invalidHost), host("http://h", .invalidHost), host("h\tx", .invalidHost),
        host("h:8x", .invalidHost), host("h:+80", .invalidHost), host("h:65536", .invalidHost),
        host("h:000080", .invalidHost), host("h:80:80", .invalidHost), host("::1", .invalidHost),
        host("[::1", .invalidHost), host("[]", .invalidHost), host("[::1]x", .invalidHost), host("[h]", .invalidHost),
        host("[::1%25eth0]", .invalidHost), host("[v1.a:b:c]", .invalidHost), host("[::1]]", .invalidHost),
        host("[" + repeated("1:", 30) + "]", .invalidHost), host("\"h\"", .invalidHost), host("h;x", .invalidHost),
        line("GET http://i/ HTTP/1.1", .hostMismatch), line("GET http://h:80/ HTTP/1.1", .hostMismatch),
        line("GET http://u@h/ HTTP/1.1", .hostMismatch), line("GET http:///x HTTP/1.1", .emptyHost),
        Refusal("GET http://u@h/ HTTP/1.1\r\nHost: u@h\r\n\r\n", .invalidHost),
        Refusal("GET http://u@h/ HTTP/1.0\r\n\r\n", .invalidHost),
    ]

    static let fieldLines: [Refusal] = [
        fields("A : b", .whitespaceInFieldName), fields("A\t: b", .whitespaceInFieldName),
        fields("A b: c", .whitespaceInFieldName), fields(" A: b", .foldedLine), fields("\tA: b", .foldedLine),
        fields("A: b\r\n c", .foldedLine), fields("A: b\r\n\tc", .foldedLine),
        Refusal("GET / HTTP/1.1\r\n Host: h\r\n\r\n", .foldedLine), fields(": b", .emptyFieldName),
        fields("A", .missingColon), fields("A\0: b", .controlByte), fields("A\u{7f}: b", .controlByte),
        fields("A\u{e9}: b", .invalidFieldName), fields("A(: b", .invalidFieldName), fields("A/: b", .invalidFieldName),
        fields("\"A\": b", .invalidFieldName), fields("A: \0", .controlByte), fields("A: b\u{1}c", .controlByte),
        fields("A: b\u{7f}", .controlByte), fields("A: b\u{b}c", .controlByte), fields("A: b\nB: c", .bareLF),
        fields("A: b\rB: c", .bareCR), fields("A: b\r\r", .bareCR), fields("A: b\n", .bareLF),
        fields("A: b\r\n\rx", .bareCR), fields("A: b\r\n\nx", .bareLF),
        fields(repeated("N", 257) + ": b", .fieldNameTooLong), fields(repeated("N", 5000), .fieldNameTooLong),
        fields("A: " + repeated("v", 32769), .fieldValueTooLong),
        fields(repeated("A: b\r\n", 99) + "A: b", .tooManyFields),
        Refusal("GET / HTTP/1.1\r\nHost: h\r\n" + repeated("A: " + repeated("v", 20000) + "\r\n", 4), .headTooLarge),
        fields("Connection: " + repeated("a,", 65), .tooManyConnectionOptions),
        fields("Expect: 200-ok", .unknownExpectation), fields("Expect: 100-continue, x", .unknownExpectation),
        fields("Expect: 100-continue\r\nExpect: x", .unknownExpectation), fields("Expect:", .unknownExpectation),
    ]

    static let framing: [Refusal] = [
        fields("Content-Length: 5\r\nTransfer-Encoding: chunked", .lengthWithTransferEncoding),
        fields("Transfer-Encoding: chunked\r\nContent-Length: 0", .lengthWithTransferEncoding),
        fields("Transfer-Encoding: chunked\r\nContent-Length: x", .lengthWithTransferEncoding),
        fields("Content-Length: 5\r\nContent-Length: 5", .severalContentLengths),
        fields("Content-Length: 5\r\nContent-Length: 6", .severalContentLengths),
        fields("Content-Length: 5, 5", .severalContentLengths), fields("Content-Length: 5,6", .severalContentLengths),
        fields("Content-Length:", .invalidContentLength), fields("Content-Length: +5", .invalidContentLength),
        fields("Content-Length: -5", .invalidContentLength), fields("Content-Length: 0x5", .invalidContentLength),
        fields("Content-Length: 5 5", .invalidContentLength), fields("Content-Length: 5;", .invalidContentLength),
        fields("Content-Length: \"5\"", .invalidContentLength), fields("Content-Length: 5.0", .invalidContentLength),
        fields("Content-Length: 5\u{b2}", .invalidContentLength), fields("Content-Length: a", .invalidContentLength),
        fields("Content-Length: 4611686018427387905", .contentLengthOverflow),
        fields("Content-Length: 9999999999999999999", .contentLengthOverflow),
        fields("Content-Length: 18446744073709551616", .contentLengthOverflow),
        fields("Content-Length: 00000000000000000005", .contentLengthOverflow),
        fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .severalTransferEncodings),
        fields("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", .severalTransferEncodings),
        fields("Transfer-Encoding: chunked\r\nTransfer-encoding: identity", .severalTransferEncodings),
        fields("Transfer-Encoding: gzip, chunked", .unknownTransferCoding),
        fields("Transfer-Encoding: gzip", .unknownTransferCoding),
        fields("Transfer-Encoding: identity", .unknownTransferCoding),
        fields("Transfer-Encoding: xchunked", .unknownTransferCoding),
        fields("Transfer-Encoding: chunked, gzip", .chunkedNotFinal),
        fields("Transfer-Encoding: chunked, identity", .chunkedNotFinal),
        fields("Transfer-Encoding: chunked, gzip, chunked", .chunkedNotFinal),
        fields("Transfer-Encoding: chunked, chunked", .invalidTransferEncoding),
        fields("Transfer-Encoding: chunked,", .invalidTransferEncoding),
        fields("Transfer-Encoding: , chunked", .invalidTransferEncoding),
        fields("Transfer-Encoding:", .invalidTransferEncoding),
        fields("Transfer-Encoding: ,", .invalidTransferEncoding),
        fields("Transfer-Encoding: chunked;q=1", .invalidTransferEncoding),
        fields("Transfer-Encoding: \"chunked\"", .invalidTransferEncoding),
        fields("Transfer-Encoding: chunked\u{e9}", .invalidTransferEncoding),
        fields("Transfer-Encoding: chunked chunked", .invalidTransferEncoding),
        fields("Transfer-Encoding: chu\0nked", .controlByte), fields("Transfer-Encoding:\u{b}chunked", .controlByte),
        fields("Transfer-Encoding : chunked", .whitespaceInFieldName),
        fields("Transfer-Encoding:\r\n chunked", .invalidTransferEncoding).folded,
        Refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10),
    ]

    /// The same text, refused for its folded line: that is seen before the field's meaning.
    var folded: Refusal { Refusal(text, .foldedLine) }

    static let all = firstLines + hosts + fieldLines + framing
}

@Suite struct RefusalTests {
    @Test func everyRuleBitesWithItsReason() {
        let bench = Bench()
        for refusal in Refusal.all {
            #expect(bench.request(refusal.text).reason == refusal.reason, "\(refusal)")
        }
    }

    /// The status classes of the documentation.
    @Test func statuses() {
        let special: [ParseFailure.Reason: Int] = [
            .requestLineTooLong: 414, .headTooLarge: 431, .fieldNameTooLong: 431, .fieldValueTooLong: 431,
            .tooManyFields: 431, .unknownExpectation: 417, .connectUnsupported: 501, .unknownTransferCoding: 501,
            .unsupportedVersion: 505, .http2Preface: 505,
        ]
        for reason in ParseFailure.Reason.allCases {
            #expect(reason.status == special[reason] ?? 400, "\(reason)")
            #expect(reason.text.utf8CodeUnitCount > 5, "\(reason) has no text")
            #expect(!StatusText.phrase(reason.status).description.isEmpty)
        }
    }

    /// Each limit lets its own value pass and refuses one more.
    @Test func limitsAreExact() throws {
        let bench = Bench()
        func name(_ count: Int) -> String { Refusal.repeated("N", count) }
        func request(_ fields: String) -> String { "GET / HTTP/1.1\r\nHost: h\r\n\(fields)\r\n" }
        #expect(bench.request("GET /\(Refusal.repeated("a", 8178)) HTTP/1.1\r\nHost: h\r\n\r\n").head != nil)
        #expect(bench.request(request("\(name(256)): x\r\n")).head != nil)
        #expect(bench.request(request("A: \(Refusal.repeated("v", 32768))  \r\n")).head != nil)
        #expect(bench.request(request(Refusal.repeated("A: b\r\n", 99))).head != nil)
        #expect(bench.request(request("Connection: \(Refusal.repeated("a,", 64))\r\n")).head != nil)
        #expect(
            bench.request(request("Content-Length: 4611686018427387904\r\n")).head?.framing == .length(1 << 62))
        let half = "A: \(Refusal.repeated("v", 30000))\r\n"
        let rest = (64 << 10) - request(half + half + "B: \r\n").utf8.count
        let exact = request(half + half + "B: \(Refusal.repeated("v", rest))\r\n")
        let over = request(half + half + "B: \(Refusal.repeated("v", rest + 1))\r\n")
        #expect(bench.request(exact).head?.length == 64 << 10)
        #expect(bench.request(over).reason == .headTooLarge)
        // A full buffer without an end is refused, so a driver with a buffer of the limit cannot get stuck.
        #expect(bench.request(over, cuts: [1000, 64 << 10]).reason == .headTooLarge)
        #expect(bench.request(exact, cuts: [1000, (64 << 10) - 1]).head != nil)
    }

    /// Garbage is refused at its byte, without waiting for the end of the head.
    @Test func garbageIsRefusedEarly() {
        let bench = Bench()
        for (text, reason) in [
            ("G\0", ParseFailure.Reason.controlByte), ("G(", .invalidMethod), ("GET \u{1}", .invalidTarget),
            ("GET / HTX", .invalidVersion), ("GET / HTTP/1.1\r\nA(", .invalidFieldName),
            ("GET / HTTP/1.1\r\nA: b\0", .controlByte), ("GET / HTTP/1.1\r\nA: b\n", .bareLF),
            ("GET / HTTP/1.1\r\n ", .foldedLine),
        ] {
            let bytes = text.latinBytes
            #expect(bench.request(bytes).reason == reason, "\(text.debugDescription)")
            #expect(bench.request(Array(bytes.dropLast())) == .needMore, "\(text.debugDescription)")
        }
        let late = "GET / HTTP/1.1\r\nHost: h\r\nA: ".latinBytes
        #expect(bench.request(late + [0], cuts: [late.count]).reason == .controlByte)
        #expect(bench.request(late + [10], cuts: [late.count]).reason == .bareLF)
        #expect(bench.request(late + [13, 13], cuts: [late.count, late.count + 1]).reason == .bareCR)
    }
}
