import HTTP
import Testing

@testable import HTTP1

@Suite struct RequestHeadTests {
    @Test func typicalGet() throws {
        let text = "GET /a/../b;c?d=%2f HTTP/1.1\r\nHost: Example.com:8080\r\nUser-Agent: x\r\nAccept: */*\r\n\r\nrest"
        let head = try #require(Bench().request(text).head)
        #expect(head.method == .get && head.methodText == "GET" && head.version == .http11)
        #expect(head.target == "/a/../b;c?d=%2f" && head.path == head.target)
        #expect(head.authority == "Example.com:8080" && head.host == "Example.com")
        #expect(head.fields.map(\.name) == ["Host", "User-Agent", "Accept"])
        #expect(head.fields.map(\.value) == ["Example.com:8080", "x", "*/*"])
        #expect(head.framing == .none && head.keepsAlive && !head.wantsUpgrade && !head.expectsContinue)
        #expect(head.length == text.utf8.count - 4 && head.start == 0)
    }

    struct Line: Sendable {
        var line: String
        var path: String
        var host = "h"
        var fields = "Host: h\r\n"
    }
    static let lines = [
        Line(line: "GET / HTTP/1.1", path: "/"),
        Line(line: "OPTIONS * HTTP/1.1", path: "*"),
        Line(line: "OPTIONS http://h HTTP/1.1", path: "*"),
        Line(line: "OPTIONS http://h/ HTTP/1.1", path: "/"),
        Line(line: "OPTIONS http://h?q HTTP/1.1", path: "/?q"),
        Line(line: "GET http://h HTTP/1.1", path: "/"),
        Line(line: "GET HTTPS://H?q=/ HTTP/1.1", path: "/?q=/", host: "H"),
        Line(line: "GET http://h:80/x?y HTTP/1.1", path: "/x?y", fields: "Host: h:80\r\n"),
        Line(line: "GET http://h/x HTTP/1.0", path: "/x", fields: ""),
        Line(line: "GET / HTTP/1.0", path: "/", host: "", fields: ""),
        Line(line: "GET //x//./y HTTP/1.1", path: "//x//./y"),
        Line(line: "GET /[]{}|\\^`\"<> HTTP/1.1", path: "/[]{}|\\^`\"<>"),
        Line(line: "GET / HTTP/1.9", path: "/"),
        Line(line: "M-SEARCH / HTTP/1.1", path: "/"),
        Line(line: "GET / HTTP/1.1", path: "/", host: "[::1]", fields: "Host: [::1]:80\r\n"),
        Line(line: "GET / HTTP/1.1", path: "/", host: "[1:2::f.0.0.1]", fields: "Host: [1:2::f.0.0.1]\r\n"),
        Line(line: "GET / HTTP/1.1", path: "/", host: "a_b-c.d.", fields: "Host:  a_b-c.d.:65535 \r\n"),
        Line(line: "GET / HTTP/1.1", path: "/", host: "h", fields: "Host: h:\r\n"),
    ]

    @Test(arguments: lines) func targetsAndHosts(line: Line) throws {
        let head = try #require(Bench().request("\(line.line)\r\n\(line.fields)\r\n").head)
        #expect(head.path == line.path && head.host == line.host)
    }

    @Test func emptyLinesAreSkipped() throws {
        for count in 0...2 {
            let skipped = String(repeating: "\r\n", count: count)
            let head = try #require(Bench().request(skipped + "GET / HTTP/1.1\r\nHost: h\r\n\r\n").head)
            #expect(head.start == 2 * count && head.length == 2 * count + 27 && head.methodText == "GET")
        }
        #expect(Bench().request("\r\n\r\n\r\n").reason == .tooManyEmptyLines)
    }

    struct Persistence: Sendable {
        var version: String
        var connection: String
        var expected: Bool
    }
    static let persistences = [
        Persistence(version: "1.1", connection: "", expected: true),
        Persistence(version: "1.1", connection: "Connection: close\r\n", expected: false),
        Persistence(version: "1.1", connection: "Connection: foo,\t CLOSE ,\r\n", expected: false),
        Persistence(version: "1.1", connection: "Connection: keep-alive\r\nConnection: close\r\n", expected: false),
        Persistence(version: "1.1", connection: "Connection: closed\r\n", expected: true),
        Persistence(version: "1.0", connection: "", expected: false),
        Persistence(version: "1.0", connection: "Connection: Keep-Alive\r\n", expected: true),
        Persistence(version: "1.0", connection: "Connection: keep-alive, close\r\n", expected: false),
        Persistence(version: "1.7", connection: "", expected: true),
    ]

    @Test(arguments: persistences) func persistence(row: Persistence) throws {
        let head = try #require(Bench().request("GET / HTTP/\(row.version)\r\nHost: h\r\n\(row.connection)\r\n").head)
        #expect(head.keepsAlive == row.expected)
    }

    struct Wish: Sendable {
        var fields: String
        var upgrade = false
        var expects = false
        var trailers = false
        var version = "1.1"
    }
    static let wishes = [
        Wish(fields: "Connection: Upgrade\r\nUpgrade: websocket\r\n", upgrade: true),
        Wish(fields: "Connection: keep-alive, upgrade\r\nUpgrade: a/1, b\r\n", upgrade: true),
        Wish(fields: "Upgrade: websocket\r\n"),
        Wish(fields: "Connection: upgrade\r\n"),
        Wish(fields: "Connection: upgrade\r\nUpgrade: ,\r\n"),
        Wish(fields: "Connection: upgrade\r\nUpgrade: websocket\r\n", version: "1.0"),
        Wish(
            fields:
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
        Wish(fields: "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: foo, H2C\r\n"),
        Wish(fields: "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n"),
        Wish(fields: "Expect: 100-Continue\r\n", expects: true),
        Wish(fields: "Expect: 100-continue\r\n", version: "1.0"),
        Wish(fields: "Expect: magic\r\n", version: "1.0"),
        Wish(fields: "TE: trailers\r\n", trailers: true),
        Wish(fields: "TE: gzip;q=0.5 , Trailers\r\n", trailers: true),
        Wish(fields: "TE: gzip\r\n"),
    ]

    @Test(arguments: wishes) func wishesOfClients(row: Wish) throws {
        let text = "POST / HTTP/\(row.version)\r\nHost: h\r\n\(row.fields)Content-Length: 1\r\n\r\n"
        let head = try #require(Bench().request(text).head)
        #expect(head.wantsUpgrade == row.upgrade && head.expectsContinue == row.expects)
        #expect(head.acceptsTrailers == row.trailers)
    }

    @Test func whatConnectionMayDrop() throws {
        let names = [
            "X-Custom": true, "Cookie": true, "Keep-Alive": true, "Proxy-Connection": true, "Host": false,
            "Content-Length": false, "X-Forwarded-For": false, "X-Forwarded-Something": false, "Forwarded": false,
            "X-Request-Id": false, "X-Real-IP": false, "K-Proxy-Request": false, "K-Unknown": false,
            "Knative-Serving-Revision": false, "Knative-New": false, "X-Other": true,
        ]
        var text = "POST / HTTP/1.1\r\nConnection: " + names.keys.map { $0.lowercased() }.joined(separator: ",")
        text += "\r\nUnnamed: 1\r\n"
        for name in names.keys { text += "\(name): \(["Host": "h", "Content-Length": "3"][name] ?? "v")\r\n" }
        let head = try #require(Bench().request(text + "\r\n").head)
        for field in head.fields {
            let expected = field.name == "Connection" || names[field.name] ?? false
            #expect(field.isHopByHop == expected, "\(field)")
        }
        #expect(head.framing == .length(3))
    }

    @Test func fieldsOfTheConnection() throws {
        let dropped = [
            "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
            "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings",
        ]
        let lines = dropped.map { $0 == "Transfer-Encoding" ? "\($0): chunked\r\n" : "\($0): x\r\n" }.joined()
        let head = try #require(Bench().request("GET / HTTP/1.1\r\nHost: h\r\n\(lines)Te2: x\r\n\r\n").head)
        #expect(head.fields.filter(\.isHopByHop).map(\.name) == dropped)
        #expect(head.framing == .chunked)
    }

    @Test func whiteSpaceAndHighBytesInValues() throws {
        let text =
            "GET / HTTP/1.1\r\nHost:h\r\nA: \t b\tc \t\r\nEmpty:\r\nBlank: \t\r\nHigh: \u{e9}\u{ff}\u{80}\r\n"
            + "!#$%&'*+-.^_`|~09azAZ: t\r\n\r\n"
        let head = try #require(Bench().request(text).head)
        #expect(head.fields.map(\.value) == ["h", "b\tc", "", "", "\u{e9}\u{ff}\u{80}", "t"])
    }
}
