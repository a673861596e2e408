import Primitives
import Testing

@testable import Routing

/// Looks `text` up byte for byte, as a request's Host value.
func match(_ table: RouteTable, _ text: String) -> RouteIndex? {
    let bytes = Array(text.utf8)
    return bytes.withUnsafeBytes { table.match(host: ByteView($0)) }
}

/// A route with one target.
func plain(_ host: String, target: Int = 0) -> Route {
    Route(host: host, splits: [Split(target: target, percent: 100)])
}

@Suite struct HostMatchTests {
    static let hosts = [
        "hello.default.example.com", "a.b", "[::1]", "[2001:db8::a]", "LOUD.Example.COM", "dotted.example.com.", "x",
        "12345678", "exactly-eight.bytes-16", "10.0.0.1",
    ]

    static let cases: [(String, RouteIndex?)] = [
        ("hello.default.example.com", 0), ("HELLO.Default.eXample.com", 0), ("hello.default.example.com:80", 0),
        ("hello.default.example.com:", 0), ("hello.default.example.com.", 0), ("hello.default.example.com.:8080", 0),
        ("hello.default.example.com..", nil), ("hello.default.example.com:80.", nil),
        ("hello.default.example.com:8o", nil), ("hello.default.example.com:80:80", nil),
        ("hello.default.example.com:-1", nil), ("hello.default.example.comm", nil), ("ello.default.example.com", nil),
        ("hello.default.example.co", nil), ("hello_default_example_com", nil), (" a.b", nil), ("a.b ", nil),
        ("a.b", 1), ("A.B:1", 1), ("a", nil), ("", nil), (".", nil), (":", nil), (":80", nil), (".:80", nil),
        ("a.b\0", nil),
        ("[::1]", 2), ("[::1]:8080", 2), ("[::1]:", 2), ("[::1].", nil), ("[::1]x", nil), ("[::1", nil), ("::1", nil),
        ("[2001:DB8::A]:443", 3), ("[2001:db8::b]", nil), ("[]", nil), ("]", nil), ("loud.example.com", 4),
        ("dotted.example.com", 5), ("dotted.example.com.", 5), ("x", 6), ("X:9", 6), ("{", nil), ("@", nil),
        ("12345678", 7), ("12345678:1", 7), ("EXACTLY-EIGHT.bytes-16", 8), ("10.0.0.1:80", 9), ("user@a.b", nil),
        ("a.b/", nil), ("*", nil),
    ]

    @Test(arguments: cases) func table(text: String, expected: RouteIndex?) throws {
        let table = try RouteTable(routes: Self.hosts.map { plain($0) })
        #expect(match(table, text) == expected)
        #expect(table.count == Self.hosts.count)
    }

    @Test func lengthLimit() throws {
        let longest = String(repeating: "a", count: 253)
        let table = try RouteTable(routes: [plain(longest)])
        #expect(match(table, longest) == 0)
        #expect(match(table, longest + ".:65535") == 0)
        #expect(match(table, longest + "a") == nil)
        #expect(match(table, String(repeating: "b", count: 253)) == nil)
        #expect(match(table, longest + String(repeating: "0", count: 300)) == nil)
        #expect(match(table, String(repeating: "a", count: 100_000)) == nil)
        #expect(throws: RouteTableFailure(issues: [.init(route: 0, problem: .invalidHost)])) {
            try RouteTable(routes: [plain(longest + "a")])
        }
    }

    @Test func emptyTableMatchesNothing() throws {
        let table = try RouteTable(routes: [])
        #expect(match(table, "a.b") == nil && match(table, "") == nil)
    }

    /// Every host is found at its index, near misses are not, and no lookup is longer than in a small table's bound.
    @Test func tenThousandHosts() throws {
        for seed in UInt64(0)..<4 {
            let hosts = (0..<10_000).map { "service-\($0).namespace-\($0 % 97).example.com" }
            let table = try RouteTable(routes: hosts.enumerated().map { plain($1, target: $0) }, seed: seed)
            #expect(table.probes <= SlotLayout.probeLimit, "seed \(seed)")
            var wrong = 0
            for (index, host) in hosts.enumerated() {
                if match(table, host) != index || table.pick(index) != index { wrong += 1 }
                if match(table, "x" + host) != nil || match(table, host + "x") != nil { wrong += 1 }
            }
            #expect(wrong == 0, "seed \(seed)")
        }
    }

    /// Random names, small alphabets so that they are alike, against a dictionary.
    @Test func agreesWithADictionary() throws {
        for seed in UInt64(0)..<64 {
            var random = SeededRandom(seed: seed)
            func name() -> String {
                let length = Int.random(in: 1...20, using: &random)
                return String(
                    (0..<length).map { _ in ["a", "b", "-", "7"].randomElement(using: &random) ?? "a" }.joined())
            }
            var expected: [String: Int] = [:]
            var routes: [Route] = []
            for _ in 0..<Int.random(in: 1...200, using: &random) {
                let host = name()
                guard expected[host] == nil else { continue }
                expected[host] = routes.count
                routes.append(plain(host))
            }
            let table = try RouteTable(routes: routes, seed: seed)
            for _ in 0..<400 {
                let host = name()
                #expect(match(table, host) == expected[host], "seed \(seed), host \(host)")
            }
            for (host, index) in expected { #expect(match(table, host.uppercased()) == index, "seed \(seed), \(host)") }
        }
    }

    /// The eight-at-once lower-casing is the byte-wise one, for every byte in every place.
    @Test func lowercasingBlocks() {
        var random = SeededRandom(seed: 1)
        for byte in UInt8.min...UInt8.max {
            for place in 0..<8 {
                var bytes = withUnsafeBytes(of: random.next(), Array.init)
                bytes[place] = byte
                let block = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
                let lower = bytes.map(ASCII.lowercased).withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
                #expect(ASCII.lowercased(block) == lower)
            }
        }
    }
}

@Suite struct RouteTableFailureTests {
    static let cases: [(Route, [RouteTableFailure.Problem])] = [
        (Route(host: "", splits: [Split(target: 0, percent: 100)]), [.invalidHost]),
        (plain("a b"), [.invalidHost]), (plain("a/b"), [.invalidHost]), (plain("*.a"), [.invalidHost]),
        (plain("a.b:http"), [.invalidHost]), (plain("a.b:80:80"), [.invalidHost]), (plain("::1"), [.invalidHost]),
        (plain("[::1"), [.invalidHost]), (plain("[]"), [.invalidHost]), (plain("[::1]x"), [.invalidHost]),
        (plain("[v1.x]"), [.invalidHost]), (plain("a[b]"), [.invalidHost]), (plain("."), [.invalidHost]),
        (plain("a,b"), [.invalidHost]), (plain("ä.example"), [.invalidHost]),
        (Route(host: "a", splits: []), [.noSplits]),
        (Route(host: "a", splits: [Split(target: 0, percent: 99)]), [.percentSum(99)]),
        (Route(host: "a", splits: [Split(target: 0, percent: 101)]), [.percentOutOfRange(101)]),
        (Route(host: "a", splits: [Split(target: 0, percent: 50), Split(target: 1, percent: 49)]), [.percentSum(99)]),
        (Route(host: "a", splits: [Split(target: 0, percent: 0), Split(target: 1, percent: 0)]), [.percentSum(0)]),
        (
            Route(host: "a", splits: [Split(target: 0, percent: 150), Split(target: 1, percent: -50)]),
            [.percentOutOfRange(150), .percentOutOfRange(-50)]
        ),
        (Route(host: "", splits: []), [.invalidHost, .noSplits]),
        (
            Route(host: "a", splits: [Split(target: 0, percent: .max), Split(target: 1, percent: .max)]),
            [.percentOutOfRange(.max), .percentOutOfRange(.max)]
        ),
    ]

    @Test(arguments: cases) func oneRoute(route: Route, problems: [RouteTableFailure.Problem]) {
        let issues = problems.map { RouteTableFailure.Issue(route: 1, problem: $0) }
        #expect(throws: RouteTableFailure(issues: issues)) { try RouteTable(routes: [plain("first"), route]) }
    }

    @Test func allProblemsAtOnce() {
        let routes = [plain("a"), plain("A."), plain(""), Route(host: "b", splits: []), plain("A:80")]
        let expected = RouteTableFailure(issues: [
            .init(route: 1, problem: .duplicateHost), .init(route: 2, problem: .invalidHost),
            .init(route: 3, problem: .noSplits), .init(route: 4, problem: .duplicateHost),
        ])
        #expect(throws: expected) { try RouteTable(routes: routes) }
    }
}
