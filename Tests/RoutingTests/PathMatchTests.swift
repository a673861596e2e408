import HTTP
import HTTP1
import Primitives
import Testing

@testable import Routing

/// What a table picks for a request written out; nil: nothing. The route must be there.
private func pick(
    _ table: RouteTable, _ target: String, _ fields: [(String, String)] = [], host: String = "a"
) -> Int? {
    var head = RequestHead(limits: HTTPLimits())
    let lines = fields.map { "\($0.0): \($0.1)\r\n" }.joined()
    let bytes = Array("GET \(target) HTTP/1.1\r\nHost: \(host)\r\n\(lines)\r\n".utf8)
    return bytes.withUnsafeBytes { buffer in
        let view = ByteView(buffer)
        var scanned = 0
        guard (try? head.parse(view, scanned: &scanned)) == true, let route = table.match(host: view[head.host]) else {
            return nil
        }
        return table.pick(route, path: view[head.pathAndQuery], head.fields, in: view)
    }
}

private func path(_ prefix: String = "", _ conditions: [(String, String)] = [], to target: Int) -> RoutePath {
    RoutePath(
        prefix: prefix, conditions: conditions.map { FieldCondition(name: $0.0, value: $0.1) },
        splits: [Split(target: target, percent: 100)])
}

@Suite struct PathMatchTests {
    static let paths = [
        path("", to: 0), path("/foo", to: 1), path("/foo/bar", to: 2), path("/foo", [("X-Tag", "one")], to: 3),
        path("/foo", [("X-Tag", "one"), ("x-user", "A b")], to: 4), path("", [("knative-serving-tag", "blue")], to: 5),
        path("/foo", [("X-Tag", "one")], to: 6), path("/Case", to: 7), path("", [("X-Empty", "")], to: 8),
    ]

    static let cases: [(String, [(String, String)], Int?)] = [
        ("/", [], 0), ("/fo", [], 0), ("/foo", [], 1), ("/foobar", [], 1), ("/foo/ba", [], 1), ("/foo/bar", [], 2),
        ("/foo/bar/baz?x", [], 2), ("/?/foo", [], 0), ("/fo?o", [], 0), ("/foo?/bar", [], 1), ("/FOO", [], 0),
        ("/Case", [], 7), ("/case", [], 0), ("/%66oo", [], 0), ("//foo", [], 0),
        ("/foo", [("X-Tag", "one")], 3), ("/foo", [("x-tag", "one")], 3), ("/foo", [("X-Tag", "One")], 1),
        ("/foo", [("X-Tag", "  one ")], 3), ("/foo", [("X-Tag", "one"), ("X-Tag", "one")], 1),
        ("/foo", [("X-Tag", "one"), ("X-Tag", "two")], 1), ("/foo", [("X-Tag", "one"), ("X-User", "A b")], 4),
        ("/foo", [("X-User", "A b")], 1), ("/foo/bar", [("X-Tag", "one")], 2),
        ("/", [("Knative-Serving-Tag", "blue")], 5), ("/", [("Knative-Serving-Tag", "blues")], 0),
        ("/", [("Knative-Serving-Tag", "")], 0), ("/foo", [("Knative-Serving-Tag", "blue")], 1),
        ("/", [("X-Empty", "")], 8), ("/", [("X-Empty", "x")], 0),
    ]

    @Test(arguments: cases) func table(target: String, fields: [(String, String)], expected: Int?) throws {
        let table = try RouteTable(routes: [Route(host: "a", paths: Self.paths)])
        #expect(pick(table, target, fields) == expected)
    }

    /// Without a path that takes all, there may be no route; other hosts are as they were.
    @Test func nothingTakesIt() throws {
        let table = try RouteTable(routes: [
            plain("b", target: 9), Route(host: "a", paths: [path("/only", to: 1)]), plain("c", target: 8),
        ])
        #expect(table.count == 3)
        #expect(pick(table, "/other") == nil && pick(table, "/only/this") == 1)
        #expect(pick(table, "/other", host: "b") == 9 && pick(table, "/only", host: "c:80") == 8)
    }

    /// One path that takes all is laid out as a host without paths.
    @Test func onePathIsPlain() throws {
        let splits = [Split(target: 3, percent: 50), Split(target: 4, percent: 50)]
        let table = try RouteTable(routes: [Route(host: "a", paths: [RoutePath(splits: splits)])])
        #expect([table.pick(0), table.pick(0), table.pick(0)] == [3, 4, 3])
        #expect(pick(table, "/x") == 4)
    }

    /// Each path divides for itself, and goes on where it was when another one changes.
    @Test func pathsDivideAndKeepTheirCount() throws {
        let division = [Split(target: 0, percent: 80), Split(target: 1, percent: 20)]
        func made(_ other: Int, _ previous: RouteTable?) throws -> RouteTable {
            let paths = [RoutePath(prefix: "/x", splits: division), path("/y", to: other), RoutePath(splits: division)]
            return try RouteTable(routes: [Route(host: "a", paths: paths)], previous: previous)
        }
        var table = try made(7, nil)
        var seen: [Int?] = []
        for turn in 0..<5 {
            seen.append(pick(table, "/x"))
            #expect(pick(table, "/y") == 7 + turn)
            table = try made(8 + turn, table)
        }
        #expect(seen == [0, 0, 1, 0, 0])
        #expect((0..<3).map { _ in pick(table, "/") } == [0, 0, 1])
    }

    static let refusals: [(Route, [RouteTableFailure.Problem])] = [
        (Route(host: "a", paths: [path("/a b", to: 0)]), [.invalidPath("/a b")]),
        (Route(host: "a", paths: [path("/a?b", to: 0)]), [.invalidPath("/a?b")]),
        (Route(host: "a", paths: [path("/", [("a b", "c")], to: 0)]), [.invalidField("a b")]),
        (Route(host: "a", paths: [path("/", [("a", "c\r\nd")], to: 0)]), [.invalidField("a")]),
        (Route(host: "a", paths: [path("/", [("a", " c")], to: 0)]), [.invalidField("a")]),
        (Route(host: "a", paths: [RoutePath(splits: [])]), [.noSplits]),
        (
            Route(host: "a", paths: [RoutePath(prefix: "/", splits: [.init(target: 0, percent: 7), plainSplit])]),
            [.percentSum(107)]
        ),
    ]
    private static let plainSplit = Split(target: 1, percent: 100)

    @Test(arguments: refusals) func refused(route: Route, problems: [RouteTableFailure.Problem]) {
        let issues = problems.map { RouteTableFailure.Issue(route: 0, problem: $0) }
        #expect(throws: RouteTableFailure(issues: issues)) { try RouteTable(routes: [route]) }
        var both = Route(host: "a", paths: [path("/", to: 0)])
        both.splits = [Self.plainSplit]
        let expected = RouteTableFailure(issues: [.init(route: 0, problem: .splitsBesidePaths)])
        #expect(throws: expected) { try RouteTable(routes: [both]) }
    }

    /// Small alphabets, so that prefixes, fields and their values are often alike, against the rule written naively.
    @Test func agreesWithANaiveModel() throws {
        for seed in UInt64(0)..<256 {
            var random = SeededRandom(seed: seed)
            let paths = (0..<Int.random(in: 1...12, using: &random)).map { target in
                path(Self.prefix(&random), Self.conditions(&random), to: target)
            }
            let table = try RouteTable(routes: [plain("b"), Route(host: "a", paths: paths)], seed: seed)
            for _ in 0..<100 {
                let target = "/" + Self.text(&random, 6) + (Bool.random(using: &random) ? "?" + "/ab" : "")
                let fields = Self.conditions(&random) + Self.conditions(&random)
                let expected = Self.naive(paths, target, fields)
                #expect(pick(table, target, fields) == expected, "seed \(seed): \(target) \(fields) in \(paths)")
            }
        }
    }

    /// Best of all that match: by length, then by number of fields, then the first.
    private static func naive(_ paths: [RoutePath], _ target: String, _ fields: [(String, String)]) -> Int? {
        let asked = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)[0]
        var best: RoutePath?
        for path in paths where asked.hasPrefix(path.prefix) {
            let holds = path.conditions.allSatisfy { condition in
                let lines = fields.filter { $0.0.lowercased() == condition.name.lowercased() }
                return lines.count == 1 && lines[0].1 == condition.value
            }
            guard holds else { continue }
            guard let other = best else {
                best = path
                continue
            }
            let (length, otherLength) = (path.prefix.count, other.prefix.count)
            if length > otherLength || (length == otherLength && path.conditions.count > other.conditions.count) {
                best = path
            }
        }
        return best?.splits[0].target
    }

    private static func text(_ random: inout SeededRandom, _ limit: Int) -> String {
        String((0..<Int.random(in: 0...limit, using: &random)).map { _ in Bool.random(using: &random) ? "a" : "/" })
    }

    private static func prefix(_ random: inout SeededRandom) -> String {
        Bool.random(using: &random) ? "" : "/" + text(&random, 4)
    }

    private static func conditions(_ random: inout SeededRandom) -> [(String, String)] {
        let names = ["X-Tag", "x-user", "Knative-Serving-Tag", "K-Network-Hash"], values = ["a", "b", ""]
        return (0..<Int.random(in: 0...2, using: &random)).map { _ in
            (names.randomElement(using: &random) ?? "", values.randomElement(using: &random) ?? "")
        }
    }
}
