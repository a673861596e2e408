import Foundation
import Primitives
import TestProcess
import Testing

@testable import QueueProxy

/// The JSON reader, by hand, by chance, and against Python's.
@Suite struct JSONTests {
    static let right: [(String, JSONValue)] = [
        ("null", .null), (" true\n", .boolean(true)), ("[]", .array([])), ("{ }", .object([])),
        ("-0.5e+3", .number("-0.5e+3")), ("[1 , 2]", .array([.number("1"), .number("2")])),
        (#"{"a":1,"a":null}"#, .object([.init(key: "a", value: .number("1")), .init(key: "a", value: .null)])),
        (#""\"\\\/\b\f\n\r\t\u00e9""#, .string("\"\\/\u{8}\u{C}\n\r\té")),
        (#""\ud83d\ude00\uD800\u0041\uDC00\ud800""#, .string("😀\u{FFFD}A\u{FFFD}\u{FFFD}")),
        ("\"\u{7F}\u{FFFE}ü\"", .string("\u{7F}\u{FFFE}ü")), (#""\ud800\ud83d\ude00""#, .string("\u{FFFD}😀")),
    ]

    @Test(arguments: right) func itIsJSON(text: String, value: JSONValue) throws {
        #expect(try JSONParser.parse(text) == value)
    }

    @Test(arguments: [
        "", " ", "tru", "nul", "True", "[1,]", "[,]", "{,}", "{\"a\":1,}", "{a:1}", "{'a':1}", "{\"a\" 1}", "{\"a\":}",
        "01", "-", "1.", ".5", "1e", "+1", "0x1", "1 2", "[1", "{\"a\":1", "\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"",
        "\"\t\"", "\"\n\"", "// x\n1", "1 # x", "---\n1", "NaN", "Infinity", "-Infinity", "\u{FEFF}1", "\u{A0}1", "yes",
        "&a 1",
    ])
    func itIsNone(text: String) { #expect(throws: JSONFailure.self) { try JSONParser.parse(text) } }

    @Test func failuresHaveAPlace() {
        #expect(throws: JSONFailure(offset: 5, problem: "a comma or ] must follow the value")) {
            try JSONParser.parse("[1,2 3]")
        }
    }

    @Test func depthAndSizeHaveLimits() {
        let deep = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        #expect(throws: Never.self) { try JSONParser.parse(deep) }
        #expect(throws: JSONFailure.self) { try JSONParser.parse("[\(deep)]") }
        #expect(throws: JSONFailure.self) { try JSONParser.parse(String(repeating: "[", count: 100_000)) }
        #expect(throws: JSONFailure.self) { try JSONParser.parse(String(repeating: " ", count: (1 << 20) + 1)) }
    }

    // MARK: Chance

    private static let seeds = [
        #"""
        {"httpGet":{"path":"/r?x=1","port":8080,"host":"127.0.0.1","scheme":"HTTP",\#
        "httpHeaders":[{"name":"A","value":"b"}]},"timeoutSeconds":1,"periodSeconds":10}
        """#,
        #"""
        [null,{"tcpSocket":{"port":"80"}},{"grpc":{"port":1,"service":"\u00fc\ud83d\ude00"}},\#
        {"exec":{"command":["a"]}}]
        """#,
        #"""
        {"tracing":{"protocol":"grpc","endpoint":"a:1","samplingRate":0.1e-2},\#
        "requestMetrics":{"protocol":"prometheus","exportInterval":5},"enableRequestLog":true}
        """#,
    ]

    /// `count` texts, near to what Knative writes and far from it.
    private static func mutants(_ count: Int, seed: UInt64) -> [String] {
        var random = SeededRandom(seed: seed)
        let pieces = [
            "null", "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d800", "0", "-", "1e9", ".", "99999999999",
            "true",
            " ", "\n", "é", "\u{1}", "\"port\":", "1.0", "\\ud83d\\ude00", "'", "#", "65536",
        ]
        return (0..<count).map { _ in
            var text = Array(seeds[Int.random(in: 0..<seeds.count, using: &random)].unicodeScalars)
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let from = Int.random(in: 0...text.count, using: &random)
                let to = min(text.count, from + Int.random(in: 0...6, using: &random))
                let piece = pieces[Int.random(in: 0..<pieces.count, using: &random)]
                text.replaceSubrange(from..<to, with: Bool.random(using: &random) ? Array(piece.unicodeScalars) : [])
            }
            return String(String.UnicodeScalarView(text))
        }
    }

    /// A configuration or a problem, never both, never neither, never a trap.
    @Test(arguments: 0..<8) func anyTextIsAnswered(seed: Int) {
        var right = 0
        for text in Self.mutants(500, seed: UInt64(seed)) {
            for (name, isArray) in [
                ("SERVING_READINESS_PROBE", "false"), ("SERVING_READINESS_PROBE", "true"),
                ("OBSERVABILITY_CONFIG", "0"),
                ("SERVING_LOGGING_CONFIG", "0"),
            ] {
                let reading = Environments.read([name: text, "ENABLE_MULTI_CONTAINER_PROBES": isArray])
                #expect((reading.configuration == nil) == !reading.problems.isEmpty, "seed \(seed): \(text)")
                #expect(reading.problems.allSatisfy { $0.variable.hasPrefix(name) }, "seed \(seed): \(text)")
                right += reading.configuration == nil ? 0 : 1
            }
        }
        #expect(right > 500, "most mutants are too wrong to test anything")
    }

    /// Python's `json` and this one agree on what is JSON and what is not.
    @Test func pythonAgrees() throws {
        let texts = Self.mutants(6_000, seed: 2024)
        let script = """
            import json, sys
            def no(x): raise ValueError(x)
            for line in sys.stdin:
                try:
                    json.loads(bytes.fromhex(line).decode(), parse_constant=no)
                    print(1)
                except ValueError:
                    print(0)
            """
        let input = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-json-\(UUID())")
        defer { try? FileManager.default.removeItem(at: input) }
        let lines = texts.map { $0.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\n" }
        try Data(lines.joined().utf8).write(to: input)
        let file = try FileHandle(forReadingFrom: input)
        let verdicts = try TestProcess.run(["/usr/bin/python3", "-c", script], input: file.fileDescriptor).output
        let expected = verdicts.split(separator: "\n").map { $0 == "1" }
        try #require(expected.count == texts.count)
        for (text, isJSON) in zip(texts, expected) {
            #expect(((try? JSONParser.parse(text)) != nil) == isJSON, "\(text)")
        }
        #expect(expected.contains(true) && expected.contains(false))
    }
}
