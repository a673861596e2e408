import Primitives
import Testing

@testable import Knative

@Suite struct YAMLTests {
    static func parse(_ text: String, _ limits: YAMLLimits = YAMLLimits()) -> YAMLParse {
        YAMLParser.parse(Array(text.utf8), limits: limits)
    }

    /// Plain scalars are typed as kubectl types them (go-yaml 2, YAML 1.1).
    @Test(arguments: [
        ("", YAMLScalar.null), ("~", .null), ("null", .null), ("NULL", .null), ("nUll", .string("nUll")),
        ("true", .boolean(true)), ("Yes", .boolean(true)), ("on", .boolean(true)), ("y", .boolean(true)),
        ("false", .boolean(false)), ("NO", .boolean(false)), ("off", .boolean(false)), ("tRue", .string("tRue")),
        ("0", .integer(0)), ("-7", .integer(-7)), ("+7", .integer(7)), ("1_000", .integer(1000)),
        ("0x1F", .integer(31)), ("-0x1F", .integer(-31)), ("0b101", .integer(5)), ("0o17", .integer(15)),
        ("017", .integer(15)), ("08", .number(8)), ("9223372036854775807", .integer(.max)),
        ("9223372036854775808", .number(9223372036854775808)), ("-9223372036854775808", .integer(.min)),
        ("1.5", .number(1.5)), (".5", .number(0.5)), ("1.", .number(1)), ("1e3", .number(1000)),
        ("-1.5E-1", .number(-0.15)), (".inf", .number(.infinity)), ("-.INF", .number(-.infinity)),
        ("1.2.3", .string("1.2.3")), ("1e", .string("1e")), (".", .string(".")), ("-", .string("-")),
        ("0x", .string("0x")), ("0x-1", .string("0x-1")), ("60s", .string("60s")),
        ("2001-01-01", .string("2001-01-01")),
        ("svc-00001", .string("svc-00001")), ("1:30", .string("1:30")), ("inf", .string("inf")),
    ])
    func plainScalars(text: String, expected: YAMLScalar) {
        #expect(YAMLScalar.typed(text) == expected)
    }

    @Test func quotedAndBlockScalarsAreStrings() {
        let parsed = Self.parse("a: '1'\nb: \"true\"\nc: |\n  1\nd: !!str 1\ne: !!float 1\nf: ! 1\n")
        let node = parsed.documents.first
        let expected: [(String, YAMLScalar)] = [
            ("a", .string("1")), ("b", .string("true")), ("c", .string("1\n")), ("d", .string("1")), ("e", .number(1)),
            ("f", .string("1")),
        ]
        for (key, scalar) in expected {
            guard case .scalar(let found)? = node?[key]?.content else {
                Issue.record("\(key) is missing")
                continue
            }
            #expect(found == scalar, "\(key)")
        }
    }

    @Test func marksCountLinesAndCharactersFromOne() {
        let node = Self.parse("# ä\na:\n  - ä: x\n    b: y\n").documents.first
        #expect(node?.mark == YAMLMark(line: 2, column: 1))
        guard case .sequence(let elements)? = node?["a"]?.content, case .mapping(let entries)? = elements.first?.content
        else {
            Issue.record("no list of mappings")
            return
        }
        #expect(entries.map(\.keyMark) == [YAMLMark(line: 3, column: 5), YAMLMark(line: 4, column: 5)])
        #expect(entries.map(\.value.mark) == [YAMLMark(line: 3, column: 8), YAMLMark(line: 4, column: 8)])
    }

    @Test func severalDocumentsEmptyOnesSkipped() {
        #expect(Self.parse("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n").documents.count == 2)
        #expect(Self.parse("").documents.isEmpty)
        #expect(Self.parse("# only a comment\n").problems.isEmpty)
    }

    @Test func aliasesAndMergeKeys() {
        let text = "base: &b {x: 1, z: 2}\nlist: [*b, *b]\nown: {<<: *b, z: 3}\nboth: {<<: [{x: 9}, *b]}\n"
        let node = Self.parse(text).documents.first
        #expect(node?["list"]?.canonicalText == #"[{"x":1,"z":2},{"x":1,"z":2}]"#)
        #expect(node?["own"]?.canonicalText == #"{"x":1,"z":3}"#)
        #expect(node?["both"]?.canonicalText == #"{"x":9,"z":2}"#)
        #expect(Self.parse("{'<<': 1}").documents.first?.canonicalText == #"{"<<":1}"#)
    }

    /// Problems of the text itself, each at its exact place.
    @Test(arguments: [
        ("a: b: c\n", "f.yaml:1:5: error: invalid YAML: mapping values are not allowed in this context; check"),
        (
            "a:\n\t- b\n",
            "f.yaml:2:1: error: invalid YAML: found character that cannot start any token; indent with spaces"
        ),
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2: error: invalid YAML: did not find expected ',' or ']' (while parsing a flow"),
        ("a: @x\n", "f.yaml:1:4: error: invalid YAML: found character that cannot start any token; quote the value"),
        ("a: \"x\n", "f.yaml:2:1: error: invalid YAML: found unexpected end of stream (while scanning a quoted scalar"),
        ("a: 1\n b: 2\n", "f.yaml:2:3: error: invalid YAML: mapping values are not allowed in this context"),
        ("a: *nobody\n", "f.yaml:1:4: error: alias \"*nobody\" refers to nothing; an anchor \"&nobody\""),
        ("a: &x [*x]\n", "f.yaml:1:8: error: alias \"*x\" refers to nothing"),
        ("[1]: x\n", "f.yaml:1:1: error: a list as a key; a key must be a string"),
        ("~: x\n", "f.yaml:1:1: error: nothing as a key"),
        ("a: !!binary x\n", "f.yaml:1:4: error: tag \"tag:yaml.org,2002:binary\" does not fit"),
        ("a: !ruby/object {}\n", "f.yaml:1:4: error: tag \"!ruby/object\" is not supported; remove the tag"),
        ("<<: 3\n", "f.yaml:1:5: error: `<<` merges a mapping, not the integer 3"),
        ("x\n", "f.yaml:1:1: error: expected a mapping, found the string \"x\""),
    ])
    func syntaxErrors(text: String, expected: String) {
        let found = messages(text)
        #expect(found.contains { $0.hasPrefix(expected) }, "\(found)")
    }

    @Test func invalidUTF8NamesThePlace() {
        let bytes = Array("a: 1\nb: ".utf8) + [0xFF, 0x0A]
        let problems = YAMLParser.parse(bytes).problems
        #expect(problems.first?.mark == YAMLMark(line: 2, column: 4))
        #expect(problems.first?.problem.contains("invalid leading UTF-8 octet") == true)
    }

    @Test func duplicateKeysAreAllReported() {
        let found = messages(manifest("image: other\nimage: third"))
        #expect(
            found.contains { $0.hasPrefix("f.yaml:13:9: error: key \"image\" is already set at line 11") }, "\(found)")
        #expect(found.contains { $0.hasPrefix("f.yaml:14:9: error: key \"image\" is already set at line 11") })
    }

    /// A syntax error in a later document does not hide the problems of the earlier ones.
    @Test func problemsBeforeASyntaxErrorAreReported() {
        let found = messages(manifest("nmae: x") + "---\na: b: c\n")
        #expect(found.count == 2)
        #expect(found.first?.contains("did you mean `name`?") == true)
        #expect(found.last?.hasPrefix("f.yaml:15:5: error: invalid YAML") == true)
    }
}

@Suite struct YAMLLimitTests {
    @Test func aliasBombIsRefused() {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...12 {
            let references = [String](repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
            text += "a\(level): &a\(level) [\(references)]\n"
        }
        let parsed = YAMLTests.parse(text)
        #expect(parsed.documents.isEmpty)
        #expect(parsed.problems.first?.problem == "the file is too large when its aliases are expanded")
        #expect(parsed.problems.first?.mark.line == 5)
    }

    @Test func textBombIsRefused() {
        let references = [String](repeating: "*a", count: 1000).joined(separator: ", ")
        let parsed = YAMLTests.parse("a: &a " + String(repeating: "x", count: 100_000) + "\nb: [\(references)]\n")
        #expect(parsed.problems.first?.problem == "the file is too large when its aliases are expanded")
    }

    /// Levels that were opened count, and so do those an alias brings.
    @Test func depthIsBounded() {
        var limits = YAMLLimits()
        limits.depth = 4
        #expect(YAMLTests.parse("[[[[1]]]]", limits).problems.isEmpty)
        #expect(YAMLTests.parse("[[[[[1]]]]]", limits).problems.first?.mark == YAMLMark(line: 1, column: 5))
        #expect(YAMLTests.parse("{a: &a [[1]], b: [*a]}", limits).problems.isEmpty)
        #expect(YAMLTests.parse("{a: &a [[1]], b: [[*a]]}", limits).problems.first?.mark.column == 20)
    }

    @Test func deepNestingOfEveryKindEndsEarly() {
        let opened = 100_000
        let blocks = (0..<500).map { String(repeating: " ", count: $0) + "a:\n" }.joined()
        for text in [
            String(repeating: "[", count: opened), String(repeating: "{a: ", count: opened),
            String(repeating: "- ", count: opened), String(repeating: "? ", count: opened), blocks,
        ] {
            let parsed = YAMLTests.parse(text)
            #expect(parsed.problems.count == 1)
            #expect(parsed.documents.isEmpty)
        }
    }

    @Test func sizesAreBounded() {
        var limits = YAMLLimits()
        limits.fileBytes = 10
        #expect(YAMLTests.parse("a: 1234567\n", limits).problems.first?.problem == "the file has 11 bytes")
        limits = YAMLLimits()
        limits.documents = 2
        #expect(YAMLTests.parse("a\n---\nb\n---\nc\n", limits).problems.first?.problem == "too many documents")
        limits.nodes = 3
        #expect(YAMLTests.parse("[1, 2, 3]", limits).problems.first?.mark == YAMLMark(line: 1, column: 8))
    }

    /// Bytes of every sort, a mebibyte of them, end in problems and not in a trap or a long wait.
    @Test func mebibytesOfGarbage() {
        let alphabets: [[UInt8]] = [
            Array(0...255), Array("{}[]:,-?&*!|>'\"%@` \n\t#ab0".utf8), Array("- \n".utf8), Array("a: \n".utf8),
            Array("&*a \n-".utf8),
        ]
        for (seed, alphabet) in alphabets.enumerated() {
            var random = SeededRandom(seed: UInt64(seed))
            let bytes = (0..<1 << 20).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] }
            let result = ManifestLoader.load(sources: [("garbage", bytes)])
            #expect(result.diagnostics.hasErrors, "seed \(seed)")
            #expect(result.services.isEmpty)
        }
    }

    @Test func problemsAreBounded() {
        let lines = (0..<5000).map { "key\($0): 1" }.joined(separator: "\n")
        let found = messages(manifest(lines))
        #expect(found.count == YAMLLimits().problems + 1)
        #expect(found.contains { $0.hasSuffix("error: too many problems; the first 200 are shown") })
    }
}
