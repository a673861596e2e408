import Primitives
import Testing

@testable import Telemetry

/// The line of `record` in `format`, or nil if it does not fit into `capacity`.
private func line(
    _ format: AccessLogFormat, capacity: Int = AccessLogFormat.longestLine, _ record: borrowing AccessRecord
) -> String? {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    return format.write(record, to: &writer) ? writer.written.string : nil
}

/// Escapes `bytes` as JSON or for the text formats.
private func escaped(_ bytes: [UInt8], json: Bool, limit: Int = 1024, isQuoted: Bool = true) -> String {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 1)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    bytes.withUnsafeBytes { raw in
        if json {
            writer.append(json: ByteView(raw), limit: limit)
        } else {
            writer.append(escaped: ByteView(raw), limit: limit, isQuoted: isQuoted)
        }
    }
    #expect(!writer.overflowed)
    return writer.written.string
}

@Suite struct AccessLogTests {
    private func full() -> AccessRecord {
        var record = AccessRecord()
        record.startUnixNanoseconds = 1_770_091_506_789_999_999
        record.method = ByteView("POST")
        record.path = ByteView("/api?x=\"1\"")
        record.protocolName = ByteView("HTTP/1.1")
        record.host = ByteView("hello.default.example.com")
        record.status = 504
        record.flags = [ResponseFlags(.coldStart), ResponseFlags(.upstreamTimeout)]
        record.bytesReceived = 154
        record.bytesSent = 2326
        record.durationMicroseconds = 226_999
        record.queuedMicroseconds = 41_000
        record.upstreamMicroseconds = 100_500
        record.peer = ByteView("10.0.35.28:51234")
        record.requestID = ByteView("cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2")
        record.traceID = ByteView("4bf92f3577b34da6a3ce929d0e0e4736")
        record.userAgent = ByteView("curl/8.5.0")
        record.referer = ByteView("http://www.example.com/start.html")
        record.forwardedFor = ByteView("203.0.113.7, 10.0.35.28")
        record.revision = ByteView("hello-00001")
        record.endpoint = ByteView("127.0.0.1:40001")
        return record
    }

    @Test func goldenLines() {
        let golden: [AccessLogFormat: String] = [
            .envoy: #"[2026-02-03T04:05:06.789Z] "POST /api?x=\"1\" HTTP/1.1" 504 UT,CS 154 2326 226 100 "#
                + #""203.0.113.7, 10.0.35.28" "curl/8.5.0" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "#
                + #""hello.default.example.com" "127.0.0.1:40001""# + "\n",
            .common: #"10.0.35.28:51234 - - [03/Feb/2026:04:05:06 +0000] "POST /api?x=\"1\" HTTP/1.1" 504 2326"# + "\n",
            .combined: #"10.0.35.28:51234 - - [03/Feb/2026:04:05:06 +0000] "POST /api?x=\"1\" HTTP/1.1" 504 2326 "#
                + #""http://www.example.com/start.html" "curl/8.5.0""# + "\n",
            .json: #"{"time":"2026-02-03T04:05:06.789Z","peer":"10.0.35.28:51234","method":"POST","#
                + #""path":"/api?x=\"1\"","protocol":"HTTP/1.1","host":"hello.default.example.com","status":504,"#
                + #""flags":"UT,CS","bytes_received":154,"bytes_sent":2326,"duration_us":226999,"queued_us":41000,"#
                + #""upstream_us":100500,"revision":"hello-00001","endpoint":"127.0.0.1:40001","#
                + #""request_id":"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2","#
                + #""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","user_agent":"curl/8.5.0","#
                + #""referer":"http://www.example.com/start.html","forwarded_for":"203.0.113.7, 10.0.35.28"}"# + "\n",
            .off: "",
        ]
        for format in AccessLogFormat.allCases { #expect(line(format, full()) == golden[format]) }
    }

    @Test func absentFields() {
        let empty = AccessRecord()
        let golden: [AccessLogFormat: String] = [
            .envoy: #"[1970-01-01T00:00:00.000Z] "- - -" 0 - 0 0 0 - "-" "-" "-" "-" "-""# + "\n",
            .common: #"- - - [01/Jan/1970:00:00:00 +0000] "- - -" 0 -"# + "\n",
            .combined: #"- - - [01/Jan/1970:00:00:00 +0000] "- - -" 0 - "-" "-""# + "\n",
            .json: #"{"time":"1970-01-01T00:00:00.000Z","peer":null,"method":null,"path":null,"protocol":null,"#
                + #""host":null,"status":0,"flags":null,"bytes_received":0,"bytes_sent":0,"duration_us":0,"#
                + #""queued_us":0,"upstream_us":null,"revision":null,"endpoint":null,"request_id":null,"#
                + #""trace_id":null,"user_agent":null,"referer":null,"forwarded_for":null}"# + "\n",
            .off: "",
        ]
        for format in AccessLogFormat.allCases { #expect(line(format, empty) == golden[format]) }
    }

    @Test func hostileBytesInText() {
        let rows: [([UInt8], String)] = [
            (Array("a\nb\r\tc".utf8), #"a\x0ab\x0d\x09c"#), (Array(#""\"#.utf8), #"\"\\"#),
            ([0x00, 0x1B, 0x7F, 0x80, 0xFF], #"\x00\x1b\x7f\x80\xff"#), (Array("é".utf8), #"\xc3\xa9"#),
            (Array("a b~".utf8), "a b~"), ([], "-"),
        ]
        for (bytes, text) in rows { #expect(escaped(bytes, json: false) == text, "\(bytes)") }
        #expect(escaped(Array("a b".utf8), json: false, isQuoted: false) == #"a\x20b"#)
    }

    @Test func hostileBytesInJSON() {
        let rows: [([UInt8], String)] = [
            (Array("a\nb\r\tc".utf8), #""a\nb\r\tc""#), (Array(#""\/"#.utf8), #""\"\\/""#),
            ([0x00, 0x08, 0x1B, 0x7F], #""\u0000\u0008\u001b\u007f""#), (Array("é€😀".utf8), "\"é€😀\""),
            // C1 controls steer terminals too; U+00A0 is none.
            ([0xC2, 0x80, 0xC2, 0x9B, 0xC2, 0xA0], #""\u0080\u009b"# + "\u{A0}\""), ([], "null"),
            // Not UTF-8: a lone byte, a cut character, over-long forms, a surrogate, beyond U+10FFFF.
            ([0xFF, 0x41], #""\ufffdA""#), ([0x80], #""\ufffd""#), ([0xE2, 0x82], #""\ufffd\ufffd""#),
            ([0xC0, 0xAF], #""\ufffd\ufffd""#), ([0xE0, 0x80, 0x80], #""\ufffd\ufffd\ufffd""#),
            ([0xED, 0xA0, 0x80], #""\ufffd\ufffd\ufffd""#), ([0xF4, 0x90, 0x80, 0x80], #""\ufffd\ufffd\ufffd\ufffd""#),
            ([0xC3, 0x22], #""\ufffd\"""#),
        ]
        for (bytes, text) in rows { #expect(escaped(bytes, json: true) == text, "\(bytes)") }
    }

    /// Every string of one or two bytes and random longer ones: one line, closed, valid UTF-8.
    @Test func noBytesBreakALine() {
        var inputs: [[UInt8]] = []
        for first in UInt8.min...UInt8.max {
            inputs.append([first])
            for second in UInt8.min...UInt8.max { inputs.append([first, second]) }
        }
        var random = SeededRandom(seed: 7)
        for _ in 0..<2000 {
            inputs.append(
                (0..<Int.random(in: 3...9, using: &random)).map { _ in
                    // Mostly bytes that begin or go on a character.
                    Bool.random(using: &random)
                        ? .random(in: 0x80...0xBF, using: &random) : .random(in: 0xC0...0xFF, using: &random)
                })
        }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
        defer { memory.deallocate() }
        var failures: [[UInt8]] = []
        for input in inputs {
            input.withUnsafeBytes { raw in
                var text = ByteWriter(memory)
                text.append(escaped: ByteView(raw), limit: 100, isQuoted: false)
                for index in 0..<text.count where !(0x21...0x7E).contains(text.written[index]) {
                    failures.append(input)
                }
                var json = ByteWriter(memory)
                json.append(json: ByteView(raw), limit: 100)
                let bytes = (0..<json.count).map { json.written[$0] }
                let isOneLine = bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
                if !isOneLine || String(validating: bytes, as: UTF8.self) == nil { failures.append(input) }
                if bytes.first != UInt8(ascii: "\"") || bytes.last != UInt8(ascii: "\"") { failures.append(input) }
                // A valid input without specials comes out as it went in.
                let valid = String(validating: input, as: UTF8.self)
                let isPlain = valid?.unicodeScalars.allSatisfy {
                    $0.value >= 0x20 && $0 != "\"" && $0 != "\\" && !(0x7F..<0xA0).contains($0.value)
                }
                if isPlain == true, Array(bytes.dropFirst().dropLast()) != input { failures.append(input) }
            }
        }
        #expect(failures.isEmpty, "\(failures.prefix(5))")
    }

    /// Plain bytes are skipped eight at a time: each byte value must be noticed at each place of a long text.
    @Test func everyByteAtEveryPlace() {
        for byte in UInt8.min...UInt8.max {
            for isQuoted in [true, false] {
                let alone = escaped([byte], json: false, isQuoted: isQuoted)
                for place in 0..<19 {
                    var text = [UInt8](repeating: 0x7E, count: 19)
                    text[place] = byte
                    let tildes = String(repeating: "~", count: place)
                    let expected = tildes + alone + String(repeating: "~", count: 18 - place)
                    #expect(escaped(text, json: false, isQuoted: isQuoted) == expected, "\(byte) at \(place)")
                }
            }
            let alone = escaped([byte], json: true).dropFirst().dropLast()
            for place in 0..<19 {
                var text = [UInt8](repeating: 0x21, count: 19)
                text[place] = byte
                let marks = String(repeating: "!", count: place)
                let expected = "\"" + marks + alone + String(repeating: "!", count: 18 - place) + "\""
                #expect(escaped(text, json: true) == expected, "\(byte) at \(place)")
            }
        }
    }

    @Test func longTextsAreCutOff() {
        let plain = [UInt8](repeating: 0x61, count: 2000)
        #expect(escaped(plain, json: false, limit: 10) == "aaaaaaaaaa...")
        #expect(escaped(plain, json: true, limit: 10) == "\"aaaaaaaaaa...\"")
        #expect(escaped(Array(plain.prefix(10)), json: false, limit: 10) == "aaaaaaaaaa")
        let controls = [UInt8](repeating: 0x01, count: 2000)
        #expect(escaped(controls, json: false, limit: 10) == #"\x01\x01..."#)
        #expect(escaped(controls, json: true, limit: 13) == #""\u0001\u0001...""#)
        // Cut between characters, never inside one.
        let euro = Array(String(repeating: "€", count: 20).utf8)
        #expect(escaped(euro, json: true, limit: 10) == "\"€€...\"")
    }

    @Test func longestLineFits() {
        let hostile = [UInt8](repeating: 0x01, count: 10_000)
        hostile.withUnsafeBytes { raw in
            let view = ByteView(raw)
            var record = AccessRecord()
            record.startUnixNanoseconds = .max
            record.flags = ResponseFlags(rawValue: .max)
            record.status = .max
            (record.method, record.path, record.protocolName, record.host) = (view, view, view, view)
            (record.peer, record.requestID, record.traceID, record.userAgent) = (view, view, view, view)
            (record.referer, record.forwardedFor, record.revision, record.endpoint) = (view, view, view, view)
            (record.bytesReceived, record.bytesSent, record.durationMicroseconds) = (.max, .max, .max)
            (record.queuedMicroseconds, record.upstreamMicroseconds) = (.max, .max)
            for format in AccessLogFormat.allCases { #expect(line(format, record) != nil, "\(format)") }
        }
    }

    /// A line that does not fit leaves nothing behind, at any size.
    @Test func allOrNothing() {
        let record = full()
        for format in AccessLogFormat.allCases where format != .off {
            guard let whole = line(format, record) else {
                Issue.record("\(format) does not fit")
                continue
            }
            let length = whole.utf8.count
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: length + 3, alignment: 1)
            defer { memory.deallocate() }
            for capacity in 3..<(length + 3) {
                var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[..<capacity]))
                writer.append("abc")
                #expect(!format.write(record, to: &writer))
                #expect(writer.written.equals("abc") && !writer.overflowed)
            }
            #expect(line(format, capacity: length, record) == whole)
        }
    }

    @Test func flags() {
        let letters = ResponseFlag.allCases.map { "\($0.letters)" }
        #expect(letters == ["UH", "UF", "UO", "NR", "UT", "UC", "UR", "DC", "DPE", "UPE", "QT", "QF", "CS"])
        for flag in ResponseFlag.allCases {
            for other in ResponseFlag.allCases { #expect(ResponseFlags(flag).contains(other) == (flag == other)) }
        }
    }
}

@Suite struct CivilTimeTests {
    @Test func knownMoments() {
        let rows: [(seconds: UInt64, text: String)] = [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"), (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"), (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_735_689_600, "2025-01-01T00:00:00.000Z"), (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"), (18_446_744_073, "2554-07-21T23:34:33.000Z"),
        ]
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
        defer { memory.deallocate() }
        for row in rows {
            var writer = ByteWriter(memory)
            writer.append(timestamp: row.seconds * 1_000_000_000)
            #expect(writer.written.string == row.text)
        }
    }

    /// Day after day for 500 years, against a calendar that counts.
    @Test func everyDay() {
        var (year, month, day): (UInt64, UInt64, UInt64) = (1970, 1, 1)
        for index in UInt64(0)..<182_000 {
            let time = CivilTime(unixNanoseconds: (index * 86_400 + 86_399) * 1_000_000_000 + 999_999_999)
            let isRight = time.year == year && time.month == month && time.day == day
            if !isRight || time.hour != 23 || time.minute != 59 || time.second != 59 || time.millisecond != 999 {
                Issue.record("day \(index) is \(year)-\(month)-\(day), found \(time)")
                return
            }
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            let lengths: [UInt64] = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            day += 1
            if day > lengths[Int(month) - 1] { (day, month) = (1, month + 1) }
            if month > 12 { (month, year) = (1, year + 1) }
        }
    }

    @Test func monthNames() {
        let names = (1...12).map { month in
            "\(CivilTime(unixNanoseconds: (UInt64(month) * 30 - 15) * 86_400_000_000_000).monthName)"
        }
        #expect(names == ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
    }
}
