import Primitives
import Testing

@testable import Telemetry

/// A request of the tests, whose texts are literals and stay.
struct LoggedRequest {
    var record = RequestLogRecord()
    var headers: [RequestLogHeader] = [
        RequestLogHeader(name: ByteView("user-agent"), value: ByteView("curl/8.5.0")),
        RequestLogHeader(name: ByteView("Referer"), value: ByteView("http://a.example/?x=1&y='2'")),
        RequestLogHeader(name: ByteView("X-Many"), value: ByteView("one")),
        RequestLogHeader(name: ByteView("x-many"), value: ByteView("two")),
        RequestLogHeader(
            name: ByteView("traceparent"),
            value: ByteView("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    ]

    init() {
        record.method = ByteView("POST")
        record.requestURI = ByteView("/api/v1?q=<a>")
        record.host = ByteView("hello.default.example.com")
        record.remoteAddress = ByteView("10.0.0.7:4711")
        record.contentLength = 4
        record.status = 200
        record.responseBytes = 1234
        record.latencyNanoseconds = 12_345_678
        record.revision.name = ByteView("hello-00001")
        record.revision.namespace = ByteView("default")
        record.revision.service = ByteView("hello")
        record.revision.configuration = ByteView("cfg")
        record.revision.podName = ByteView("hello-00001-x")
        record.revision.podIP = ByteView("10.1.2.3")
    }

    /// The line of this request, without its line feed. What the template refuses comes back instead.
    func line(_ template: String, capacity: Int = 200_000) -> String {
        do throws(GoTemplate.Failure) {
            return rendered(try GoTemplate(template), capacity: capacity).line
        } catch {
            return error.problems.map(\.description).joined(separator: "; ")
        }
    }

    func rendered(_ template: GoTemplate, capacity: Int = 200_000) -> (line: String, outcome: RequestLog.Outcome) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        var log = RequestLog(template)
        let outcome = headers.withUnsafeBufferPointer { headers in
            var record = record
            record.headers = headers
            return log.write(record, to: &writer)
        }
        guard outcome != .noRoom else {
            #expect(writer.count == 0 && !writer.overflowed)
            return ("", outcome)
        }
        #expect(writer.written[writer.count - 1] == ASCII.lf)
        return (writer.written[0..<writer.count - 1].string, outcome)
    }
}

@Suite struct RequestLogTests {
    /// Knative's own template: what Go writes for this request, character by character.
    @Test func knativeDefault() throws {
        let expected =
            #"{"httpRequest": {"requestMethod": "POST", "requestUrl": "/api/v1?q\u003D\u003Ca\u003E", "#
            + #""requestSize": "4", "status": 200, "responseSize": "1234", "userAgent": "curl/8.5.0", "#
            + #""remoteIp": "10.0.0.7:4711", "serverIp": "10.1.2.3", "#
            + #""referer": "http://a.example/?x\u003D1\u0026y\u003D\'2\'", "latency": "0.012345678s", "#
            + #""protocol": "HTTP/1.1"}, "traceId": "4bf92f3577b34da6a3ce929d0e0e4736"}"#
        #expect(LoggedRequest().line(GoTemplate.knativeDefault) == expected)
        let template = try GoTemplate(GoTemplate.knativeDefault)
        #expect(!template.needsScratch)
        #expect(template.headerNames == ["referer", "traceparent", "user-agent", "x-b3-traceid"])
    }

    @Test func golden() {
        let rows: [(String, String)] = [
            ("plain", "plain"), ("{{.Request.URL}}", "/api/v1?q=<a>"), ("{{.Request.ContentLength}}", "4"),
            (
                "{{.Revision.Name}}, {{.Revision.Namespace}}, {{.Revision.Service}}, {{.Revision.Configuration}}",
                "hello-00001, default, hello, cfg"
            ),
            ("TLS: {{.Request.TLS}}", "TLS: <nil>"),
            ("{{.Request.URL.Path}}|{{.Request.URL.RawQuery}}", "/api/v1|q=<a>"),
            ("[{{.Request.URL.Host}}{{.Request.URL.Scheme}}]", "[]"), ("{{.Request.URL.String}}", "/api/v1?q=<a>"),
            (#"{{.Request.Header.Get "X-MANY"}}"#, "one"), (#"[{{.Request.Header.Get "Host"}}]"#, "[]"),
            (#"{{index .Request.Header "X-Many"}}"#, "[one two]"), (#"{{index .Request.Header "x-many"}}"#, "[]"),
            (#"{{index .Request.Header "X-B3-Traceid"}}"#, "[]"), (#"{{index .Request.Header "X-Many" 1}}"#, "two"),
            (#"{{(index .Request.Header "X-Many" 1) | printf "%q"}}"#, #""two""#),
            (#"{{.Request.Header.Values "x-many"}} {{len (.Request.Header.Values "x-many")}}"#, "[one two] 2"),
            ("a  {{- .Response.Code -}}  b", "a200b"), ("a {{/* no */}} b", "a  b"), ("a {{- /* no */ -}} b", "ab"),
            ("{{if eq .Request.Method \"GET\" \"POST\"}}yes{{else}}no{{end}}", "yes"),
            ("{{if .Request.TLS}}s{{else if gt .Response.Latency 0.01}}slow{{else}}fast{{end}}", "slow"),
            ("{{if and .Request.Host (not .Request.TLS)}}x{{end}}{{if or false 0 \"\"}}y{{end}}", "x"),
            ("{{or \"\" .Request.Host}} {{and 1 0 2}}", "hello.default.example.com 0"),
            ("{{$x := .Request}}{{$x.Method}} {{$y := .Response.Code}}{{$y}}{{$y = 3}}{{$y}}", "POST 2003"),
            ("{{with .Revision}}{{.Name}} {{$.Response.Code}}{{else}}none{{end}}", "hello-00001 200"),
            ("{{with .Request.Header.Get \"None\"}}a{{.}}{{else}}none{{end}}", "none"),
            ("{{with $h := .Request.Header.Get \"X-Many\"}}{{.}}{{$h}}{{end}}", "oneone"),
            ("{{if $t := .TraceID}}{{len $t}}{{end}}", "32"), ("{{(.Request).Method}}", "POST"),
            (
                #"{{printf "%.3f %6d|%-6d|%06d %s %v %t" .Response.Latency 42 42 -42 .Request.Proto 1.5 true}}"#,
                "0.012     42|42    |-00042 HTTP/1.1 1.5 true"
            ),
            (#"{{printf "%x %X %x %.2s|%5s|%-5s|%%" "hi" 255 255 "long" "ab" "ab"}}"#, "6869 FF ff lo|   ab|ab   |%"),
            (
                #"{{printf "%e %g %.3g %+d % d" .Response.Latency 1e21 123456.0 5 5}}"#,
                "1.234568e-02 1e+21 1.23e+05 +5  5"
            ),
            (#"{{print 1 2 "a" 3 true}} {{println "x" 1}}"#, "1 2a3 true x 1\n"),
            (
                #"{{html "<a href='x'>&\""}} {{urlquery "a b/ü~"}}"#,
                "&lt;a href=&#39;x&#39;&gt;&amp;&#34; a+b%2F%C3%BC~"
            ),
            (#"{{.Request.Host | js | len}} {{"a'b" | js | printf "%s-%s" "x"}}"#, #"25 x-a\'b"#),
            (#"{{`raw "x"`}}{{'A'}}{{0x10}}{{-3}}{{1.50}}{{"é\t\x41"}}"#, "raw \"x\"6516-31.5é\tA"),
            ("{{.Request.ProtoMajor}}.{{.Request.ProtoMinor}}", "1.1"),
            (
                "{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge 1 2}}{{ne \"a\" \"b\"}}{{lt \"a\" \"ab\"}}",
                "truetruefalsefalsetruetrue"
            ),
            ("{{if true}}{{if false}}a{{else}}b{{end}}c{{end}}", "bc"),
            ("{{js 1 2}} {{js .Request.TLS}}", #"1 2 \u003Cnil\u003E"#),
        ]
        for (template, expected) in rows { #expect(LoggedRequest().line(template) == expected, "\(template)") }
    }

    @Test func tls() {
        var request = LoggedRequest()
        var tls = RequestLogTLS()
        tls.cipherSuite = 0x1301
        tls.negotiatedProtocol = ByteView("h2")
        request.record.tls = tls
        #expect(request.line("TLS: {{.Request.TLS}}").hasPrefix("TLS: {772 true false 4865 h2 true"))
        #expect(request.line("{{if .Request.TLS}}{{.Request.TLS.Version}}{{end}}") == "772")
        let failed = LoggedRequest().line("{{.Request.TLS.Version}}")
        #expect(
            failed
                == "Invalid request log template: method: POST, response code: 200, latency: 0.012345678, "
                + "url: /api/v1?q=<a>"
        )
    }

    /// Everything that is wrong is named, with its place.
    @Test func refused() {
        let fields = "supported are Configuration, Name, Namespace, PodIP, PodName, Service"
        let rows: [(String, String)] = [
            ("{{}}", "1:1: missing value for command"), ("a\n{{.Request.Method", "2:3: unclosed action"),
            ("{{range .X}}{{end}}", "1:3: {{range}} is not supported in a request log template"),
            ("{{define \"x\"}}", "1:3: {{define}} is not supported in a request log template"),
            ("{{.Revision.Nam}}", "1:12: can't evaluate field Nam in type *http.RequestLogRevision; \(fields)"),
            (
                "{{call .X}}",
                "1:3: function \"call\" is not supported; there are and or not eq ne lt le gt ge len index "
                    + "print println printf js html urlquery"
            ),
            ("{{if .TraceID}}x", "1:3: {{if}} without {{end}}"), ("{{end}}", "1:1: unexpected {{end}}"),
            ("{{else}}", "1:1: unexpected {{else}}"),
            (
                "{{.Request}}",
                "1:3: *http.Request as a whole cannot be printed; "
                    + "name one of its fields"
            ),
            ("{{$x}}", "1:3: undefined variable $x"),
            ("{{eq 1 \"a\"}}", "1:3: eq: incompatible types for comparison: int and string"),
            ("{{gt .Response.Latency 1}}", "1:3: gt: incompatible types for comparison: float64 and int"),
            ("{{printf \"%d\" .Request.Host}}", "1:3: printf: %d cannot format a string"),
            ("{{printf \"%d\"}}", "1:3: printf: no argument for %d"),
            (
                "{{printf \"%z\" 1}}",
                "1:3: printf: %z is not supported; "
                    + "there are v s q d x X f e g t"
            ),
            ("{{printf \"x\" 1}}", "1:3: printf: the format has 0 verbs for 1 arguments"),
            ("{{\"a}}", "1:3: unterminated quoted string"),
            ("{{.TraceID 1}}", "1:12: an argument for what is not a function"),
            ("{{1 | 2}}", "1:7: only a function can follow |"), ("{{(1}}", "1:3: unclosed parenthesis"),
            ("{{/* x }}", "1:1: unclosed comment"), ("{{/* x */ y}}", "1:10: comment ends before closing delimiter"),
            ("{{js .Request.Header.Get \"X\"}}", "1:21: put the call of Get in parentheses"),
            ("{{.Request.Header.Get .TraceID}}", "1:18: Get needs the name of a header as a constant"),
            ("{{1 2}}", "1:5: an argument for what is not a function"),
            (
                "{{nil}}",
                "1:3: function \"nil\" is not supported; "
                    + "there are and or not eq ne lt le gt ge len index print println printf js html urlquery"
            ),
        ]
        for (template, expected) in rows { #expect(LoggedRequest().line(template) == expected, "\(template)") }
        let both = LoggedRequest().line("{{.A}} {{.B}}")
        #expect(both.contains("1:3: can't evaluate field A") && both.contains("1:10: can't evaluate field B"))
        let deep = String(repeating: "(", count: 100)
        #expect(LoggedRequest().line("{{\(deep)").contains("unclosed action"))
        #expect(LoggedRequest().line("{{\(deep)1}}").contains("nested more than 64 deep"))
        #expect(LoggedRequest().line(String(repeating: "{{if 1}}", count: 100)).contains("nested more than 64 deep"))
        #expect(LoggedRequest().line(String(repeating: "x", count: 65_537)).contains("65537 bytes"))
    }

    /// A line is written whole or not at all; one beyond the limit is replaced by one that says so.
    @Test func bounded() throws {
        let template = try GoTemplate("{{.Request.Method}} {{js .Request.RequestURI}}")
        var request = LoggedRequest()
        request.record.requestURI = ByteView("/x")
        for capacity in 1..<8 { #expect(request.rendered(template, capacity: capacity).outcome == .noRoom) }
        #expect(request.rendered(template, capacity: 8).line == "POST /x")
        let long = [UInt8](repeating: UInt8(ascii: "<"), count: 20_000)
        long.withUnsafeBytes { long in
            request.record.requestURI = ByteView(long)
            let (line, outcome) = request.rendered(template, capacity: RequestLog.lineLimit)
            #expect(
                outcome == .failed && line.hasPrefix("Request log line of more than 65536 bytes left out: method: POST")
            )
            #expect(line.utf8.count < 1200)
            #expect(request.rendered(template, capacity: 60_000).outcome == .noRoom)
        }
    }

    @Test func urls() {
        let rows: [(StaticString, String, String)] = [
            ("/", "/", "/"), ("*", "*", "*"), ("/a%20b?x=%20", "/a%20b?x=%20", "/a b"), ("/a?", "/a?", "/a"),
            ("/ü\"", "/%C3%BC%22", "/ü\""), ("/(a)|", "/%28a%29%7C", "/(a)|"), ("/a#b", "/a%23b", "/a#b"),
            ("http://h.example:80/p?q", "http://h.example:80/p?q", "/p"), ("http://h", "http://h", ""),
            ("/x?u=http://y", "/x?u=http://y", "/x"), ("//a/b", "//a/b", "//a/b"), ("/%zz%4", "/%zz%4", "/%zz%4"),
        ]
        for (target, url, path) in rows {
            var request = LoggedRequest()
            request.record.requestURI = ByteView(target)
            #expect(request.line("{{.Request.URL}}") == url, "\(target)")
            #expect(request.line("{{.Request.URL.Path}}") == path, "\(target)")
            #expect(request.line("{{print .Request.URL.Path}}") == path, "\(target)")
        }
    }

    @Test func traceIDs() {
        let rows: [(StaticString?, StaticString?, String)] = [
            (nil, nil, ""), (nil, "abc", "abc"), ("00-1234-5-6", "abc", "1234"), ("00-1234", "abc", "1234"),
            ("junk", "abc", "abc"), ("00--", nil, ""),
        ]
        for (parent, b3, expected) in rows {
            var request = LoggedRequest()
            request.headers = []
            if let parent {
                request.headers.append(RequestLogHeader(name: ByteView("Traceparent"), value: ByteView(parent)))
            }
            if let b3 { request.headers.append(RequestLogHeader(name: ByteView("X-B3-TraceId"), value: ByteView(b3))) }
            #expect(request.line("{{.TraceID}}") == expected)
        }
    }

    /// Templates made of pieces in any order are refused or run; none traps, and no line is longer than the limit.
    @Test func fuzz() {
        let pieces = [
            "{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "with", ".Request", ".Method", ".TLS", ".Header.Get",
            "\"X\"",
            "$x", ":=", "=", "|", "(", ")", "printf", "\"%5.2f\"", "index", "js", "1", "2.5", "-", ".", "/*", "*/",
            "and",
            "or", "eq", "len", "not", "print", "`", "'", "\n", "true", "$", ".Response.Code", ".Response.Latency",
            "{{end}}",
            "{{if .TraceID}}", "{{else}}", ".URL.Path", "{{.Request.Host}}", "ü", "\u{0}",
        ]
        var accepted = 0
        for seed in UInt64(0)..<6000 {
            var random = SeededRandom(seed: seed)
            var source = seed % 2 == 0 ? "{{" : ""
            for _ in 0..<Int.random(in: 1...10, using: &random) {
                source += pieces[Int.random(in: 0..<pieces.count, using: &random)]
                if Bool.random(using: &random) { source += " " }
            }
            if seed % 2 == 0 { source += "}}" }
            guard let template = try? GoTemplate(source) else { continue }
            accepted += 1
            let outcome = LoggedRequest().rendered(template).outcome
            #expect(outcome != .noRoom, "seed \(seed): \(source)")
        }
        #expect(accepted > 100)
    }
}

@Suite struct GoTextTests {
    private func text(_ write: (inout ByteWriter) -> Void) -> String {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        write(&writer)
        #expect(!writer.overflowed)
        return writer.written.string
    }

    @Test func floats() {
        let rows: [(Double, String)] = [
            (0, "0"), (-0.0, "-0"), (1, "1"), (-1.5, "-1.5"), (0.1, "0.1"), (0.0001, "0.0001"), (0.00001, "1e-05"),
            (0.000012345, "1.2345e-05"), (100_000, "100000"), (1e6, "1e+06"), (123_456_789, "1.23456789e+08"),
            (999_999, "999999"), (123_456.5, "123456.5"), (1e20, "1e+20"), (1e100, "1e+100"),
            (.leastNonzeroMagnitude, "5e-324"),
            (0.1 + 0.2, "0.30000000000000004"), (.infinity, "+Inf"), (-.infinity, "-Inf"), (.nan, "NaN"),
            (12.5, "12.5"),
            (1.7976931348623157e308, "1.7976931348623157e+308"), (300, "300"), (0.005, "0.005"),
        ]
        for (value, expected) in rows { #expect(text { $0.append(goFloat: value) } == expected) }
        for seed in UInt64(0)..<2000 {
            var random = SeededRandom(seed: seed)
            let value = Double(bitPattern: random.next())
            guard value.isFinite else { continue }
            #expect(Double(text { $0.append(goFloat: value) }) == value, "seed \(seed)")
        }
    }

    /// What JSEscapeString of Go 1.14 and later makes of it.
    @Test func scripts() {
        let rows: [(String, String)] = [
            ("plain /?a", "plain /?a"), ("\\'\"", #"\\\'\""#), ("<>&=", #"\u003C\u003E\u0026\u003D"#),
            ("\n\t\u{1}\u{1F}", #"\u000A\u0009\u0001\u001F"#), ("\u{7F}", "\u{7F}"), ("üé漢", "üé漢"), ("😀", "😀"),
            ("\u{200B}", #"\u200B"#), ("\u{A0}", #"\u00A0"#), ("\u{2028}", #"\u2028"#), ("\u{85}", #"\u0085"#),
            ("\u{10FFFF}", #"\u10FFFF"#), ("a\u{FFFD}", "a\u{FFFD}"),
        ]
        for (plain, expected) in rows {
            let escaped = Array(plain.utf8).withUnsafeBytes { bytes in text { $0.append(js: ByteView(bytes)) } }
            #expect(escaped == expected)
        }
        // Go lets bytes pass that are no character.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        let broken: [UInt8] = [0xFF, 0x41, 0xC3]
        broken.withUnsafeBytes { writer.append(js: ByteView($0)) }
        #expect(Array(UnsafeBufferPointer(start: writer.base, count: writer.count)) == broken)
    }

    @Test func quotes() {
        let quoted = Array("a\"\\\n\u{7}\u{7F}ü\u{200B}\u{E0001}".utf8).withUnsafeBytes { bytes in
            text { $0.append(goQuoted: ByteView(bytes)) }
        }
        #expect(quoted == #""a\"\\\n\a\x7fü\u200b\U000e0001""#)
    }
}
