import HTTP
import Primitives

/// Messages that fuzzing and differential tests start from, and how they are mutated.
enum Corpus {
    static let requests: [String] = [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a/b;c?d=e&f=%20 HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent: curl/8.1\r\nAccept: */*\r\n\r\n",
        "\r\nHEAD /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
        "POST /t HTTP/1.1\r\nHost: h\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
            + "3;x=\"y z\"\r\nabc\r\n0\r\nX-T: 1\r\nX-U:2\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, X-A\r\nX-A: b\r\n\r\n",
        "GET http://h.example/x?y HTTP/1.1\r\nHost: h.example\r\nCookie: a=b; c=d\r\n\r\n",
        "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + "Sec-WebSocket-Version: 13\r\n\r\n",
        "PATCH /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"
            + "X-Odd:  \t a\tb \t\r\nEmpty:\r\n\r\nabc",
        "DELETE /%7Euser HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nK-Original-Host: i\r\n"
            + "X-High: \u{e9}\r\n\r\n",
    ]

    static let responses: [String] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: x\r\n\r\nA;e\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nuntil the end",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 500 \r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n",
        "HTTP/1.1 302\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nok",
    ]

    /// Pieces that break rules or come near it.
    private static let splinters: [String] = [
        "\r\n", "\r", "\n", "\r\n\r\n", " ", "\t", ":", ",", ";", "\0", "\u{b}", "\u{7f}", "\u{80}", "\u{ff}", "#", "@",
        "0", "1", "-", "+", "0x", "F", "\"", "\\", "/", "?", "*", "%", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http://",
        "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length: 1, 1\r\n", "Content-Length:+1\r\n",
        "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding:chunked\r\n",
        "Transfer-Encoding : chunked\r\n", "transfer-encoding: CHUNKED\r\n", "Transfer-Encoding: chunked, x\r\n",
        "Host: h\r\n", "Host: i\r\n", "Host:\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n",
        "Connection: Host, Content-Length, Foo\r\n", "Connection: upgrade\r\n", "Upgrade: h2c\r\n", "X: y\r\n",
        " folded\r\n",
        "Expect: 100-continue\r\n", "TE: trailers\r\n", "0\r\n\r\n", "5\r\nhello\r\n", ";a=b", ";a=\"b\"",
        "PRI * HTTP/2.0",
    ]

    /// A message of `seeds` with one to four random changes, the first of 8 unchanged.
    static func mutated(_ seeds: [String], _ random: inout SeededRandom) -> [UInt8] {
        var bytes = pick(seeds, &random).latinBytes
        guard Int.random(in: 0..<8, using: &random) > 0 else { return bytes }
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let place = Int.random(in: 0...bytes.count, using: &random)
            let span = place..<min(bytes.count, place + Int.random(in: 0...8, using: &random))
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes.removeSubrange(span)
            case 1: bytes.insert(contentsOf: bytes[span], at: place)
            case 2: bytes.insert(contentsOf: pick(splinters, &random).latinBytes, at: place)
            case 3: insertLine(pick(splinters, &random).latinBytes, &bytes, &random)
            case 4 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
            default: bytes.replaceSubrange(span, with: pick(splinters, &random).latinBytes)
            }
        }
        return bytes
    }

    /// Inserts after a random line end, where field lines and chunk lines begin.
    private static func insertLine(_ line: [UInt8], _ bytes: inout [UInt8], _ random: inout SeededRandom) {
        let ends = bytes.indices.filter { bytes[$0] == 10 }
        guard let end = ends.randomElement(using: &random) else { return }
        bytes.insert(contentsOf: line, at: end + 1)
    }

    private static func pick(_ list: [String], _ random: inout SeededRandom) -> String {
        list[Int.random(in: 0..<list.count, using: &random)]
    }
}
