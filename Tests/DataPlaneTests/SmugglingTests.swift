import HTTP2Wire
import Primitives
import Testing

@testable import DataPlane

/// Hostile requests through a real proxy, to pods of both versions: whatever a client sends, the pod gets requests that
/// can be read in one way only, and those that the client sent; and the request after them is understood as itself.
@Suite struct SmugglingTests {
    /// One proxy, a pod that judges what it gets, and a neighbour who asks after every case.
    final class Bench {
        let proxy: ProxyHarness
        let pod: RecordingPod
        private let neighbour: Peer
        private var count = 0

        init(_ proxy: ProxyHarness, _ speech: Speech) throws {
            self.proxy = proxy
            pod = RecordingPod(proxy.pods[0], speech)
            neighbour = try proxy.client()
        }

        /// Lets everybody act until nothing moves any more, or `isDone`; `listen` takes in what the client got.
        func run(_ isDone: () -> Bool, _ listen: () throws -> Bool) throws {
            var quiet = 0
            while quiet < 3 {
                var hasMoved = try pod.step()
                if try listen() { hasMoved = true }
                if isDone() { return }
                // An answer of the worker: it has acted on what was said to it before.
                let gauges = try proxy.total()
                if try pod.step() { hasMoved = true }
                quiet = hasMoved ? 0 : quiet + 1
                if quiet > 0, gauges.exchanges > 0 { _ = proxy.pods[0].isConnectionWaiting(1) }
            }
        }

        /// A request that everybody must understand, on the connections that the last case has left.
        func mark() throws -> String? {
            count += 1
            try proxy.until("over with the last case") { $0.exchanges == 0 }
            let before = pod.seen.count, path = "/marker-\(count)"
            try neighbour.send(ProxyHarness.get(path))
            try run({ StrictRequest.find([13, 10, 13, 10], neighbour.pending[...]) != nil }) {
                let held = neighbour.pending.count
                try neighbour.poll(milliseconds: 0)
                return neighbour.pending.count != held
            }
            let head = try neighbour.receiveHead()
            if head.values("X-Pod") != [path] { return "the marker \(path) was answered with \(head)" }
            let new = pod.seen[before...].map(\.target)
            return new == [path] ? nil : "with the marker came \(new)"
        }
    }

    static func latin(_ text: String) -> [UInt8] { text.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) } }

    // MARK: Clients of HTTP/1.1

    /// What the pod got of `bytes`, judged; nil if nothing is wrong.
    static func check(_ bytes: [UInt8], _ bench: Bench) throws -> (problem: String?, accepted: Int) {
        let before = bench.pod.seen.count
        let client = try bench.proxy.client()
        client.sendWhatFits(bytes)
        try bench.run({ client.hasEnded }) {
            let held = client.pending.count
            do { try client.poll(milliseconds: 0) } catch { return false }
            return client.pending.count != held
        }
        client.close()
        try bench.run({ false }, { false })
        let forwarded = Array(bench.pod.seen[before...])
        if let problem = bench.pod.problems.first { return (problem, 0) }
        // Those in between may have been answered by the proxy.
        var sent = requests(bytes)[...]
        for request in forwarded {
            guard let index = sent.firstIndex(where: { isSame($0, request) }) else {
                return ("\(request), which nobody sent", 0)
            }
            sent = sent[(index + 1)...]
        }
        // One answer for each that the pod got, in their order.
        let answers = answers(client.pending)
        guard answers == forwarded.map(\.target) else {
            return ("\(forwarded.map(\.target)) were answered with \(answers)", 0)
        }
        return (try bench.mark(), forwarded.count)
    }

    /// Whether `forwarded` is what a proxy makes of `sent`: an absolute target loses its scheme and authority.
    private static func isSame(_ sent: StrictRequest, _ forwarded: StrictRequest) -> Bool {
        let query = sent.target.drop { $0 != "?" }
        return sent.method == forwarded.method && sent.body == forwarded.body
            && (sent.target.hasSuffix(forwarded.target) || ["/", "*", "/" + query].contains(forwarded.target))
    }

    /// The requests in what a client said, as a strict reader understands it, to the first that it does not.
    static func requests(_ bytes: [UInt8]) -> [StrictRequest] {
        var list: [StrictRequest] = [], rest = bytes[...]
        while !rest.isEmpty, case .request(let request, let count) = StrictRequest.parse(rest, isForwarded: false) {
            list.append(request)
            rest = rest.dropFirst(count)
        }
        return list
    }

    /// The targets that the pod's answers name.
    static func answers(_ bytes: [UInt8]) -> [String] {
        String(decoding: bytes, as: UTF8.self).split(separator: "\r\n").filter { $0.lowercased().hasPrefix("x-pod: ") }
            .map { String($0.dropFirst(7)) }
    }

    static let host = "Host: \(ProxyHarness.host)\r\n"
    static let smuggled = "GET /smuggled HTTP/1.1\r\nHost: \(ProxyHarness.host)\r\n\r\n"
    static let http1: [String] = [
        "POST / HTTP/1.1\r\n\(host)Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Content-Length: 0\r\nContent-Length: 55\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Content-Length: 0, 55\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Content-Length: +0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Content-Length: 0x0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Content-Length : 55\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Content-Length: 18446744073709551616\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)X: y\rContent-Length: 55\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)X: y\0Content-Length: 55\r\n\r\n\(smuggled)",
        "POST / HTTP/1.0\r\n\(host)Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Connection: Content-Length\r\nContent-Length: 55\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n\(smuggled)",
        "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\(host)\(host)\r\n", "GET / HTTP/1.1\r\n\(host)Host: evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil@\(ProxyHarness.host)\r\n\r\n",
        "GET http://\(ProxyHarness.host)/a HTTP/1.1\r\nHost: evil\r\n\r\n",
        "GET http://evil@\(ProxyHarness.host)/a HTTP/1.1\r\n\(host)\r\n",
        "GET http://\(ProxyHarness.host)#/a HTTP/1.1\r\n\(host)\r\n", "GET \\a HTTP/1.1\r\n\(host)\r\n",
        "GET /a b HTTP/1.1\r\n\(host)\r\n", "GET /a\u{7f} HTTP/1.1\r\n\(host)\r\n",
        "GET / HTTP/1.1\r\n\(host):path: /evil\r\n\r\n", "GET / HTTP/1.1\r\n\(host): x\r\n\r\n",
        "GET / HTTP/1.1\r\n\(host)Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\(smuggled)",
        "GET / HTTP/1.1\r\n\(host)Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n\(smuggled)",
        "CONNECT \(ProxyHarness.host):80 HTTP/1.1\r\n\(host)\r\n\(smuggled)",
        "GET / HTTP/1.1\r\n\(host)Content-Length: 5\r\n\r\nhello\(smuggled)",
        "GET / HTTP/1.1\r\n\(host)Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello\(smuggled)",
    ]

    @Test(arguments: Speech.allCases) func knownAttacks(_ speech: Speech) throws {
        try withProxy {
            $0.speak(speech)
        } _: { proxy in
            let bench = try Bench(proxy, speech)
            for text in Self.http1 {
                do {
                    let found = try Self.check(Self.latin(text), bench)
                    #expect(found.problem == nil, "\(text.debugDescription)")
                    guard found.problem == nil else { break }
                } catch {
                    Issue.record("\(error) after \(text.debugDescription)")
                    break
                }
            }
        }
    }

    // MARK: Clients of HTTP/2

    /// A request as frames, hostile or not.
    struct Frames: CustomStringConvertible {
        var fields: [(String, String)]
        var body: [UInt8]?
        var trailers: [(String, String)]?
        var description: String { "\(fields), body \(body?.count ?? -1), trailers \(trailers ?? [])" }

        static func block(_ fields: [(String, String)]) -> [UInt8] {
            fields.flatMap {
                [0] + Make.string(SmugglingTests.latin($0.0)) + Make.string(SmugglingTests.latin($0.1))
            }
        }
    }

    /// Whether a strict reader takes it for a request to us (RFC 9113 §8).
    static func isSound(_ request: Frames) -> Bool {
        let pseudo = request.fields.prefix { $0.0.hasPrefix(":") }, rest = request.fields.dropFirst(pseudo.count)
        func values(_ name: String) -> [String] { request.fields.filter { $0.0 == name }.map(\.1) }
        let known = [":method", ":scheme", ":path", ":authority"]
        guard pseudo.allSatisfy({ known.contains($0.0) }), Set(pseudo.map(\.0)).count == pseudo.count,
            let method = values(":method").first, let path = values(":path").first, !values(":scheme").isEmpty,
            StrictRequest.isToken(method), method != "CONNECT",
            path.hasPrefix("/") || (path == "*" && method == "OPTIONS"),
            path.unicodeScalars.allSatisfy({ StrictRequest.isVisible($0) && $0 != "#" })
        else { return false }
        let hosts = values("host"), authority = values(":authority").first ?? hosts.first ?? ""
        guard hosts.count <= 1, hosts.allSatisfy({ $0.lowercased() == authority.lowercased() }) else { return false }
        let bare = authority.lowercased().split(separator: ":", maxSplits: 1).map(String.init)
        guard bare.first == ProxyHarness.host, bare.dropFirst().allSatisfy({ $0.allSatisfy(\.isNumber) }) else {
            return false
        }
        let lengths = values("content-length"), sent = request.body?.count ?? 0
        guard lengths.count <= 1,
            lengths.allSatisfy({ $0.allSatisfy { $0.isASCII && $0.isNumber } && Int($0) == sent })
        else { return false }
        return rest.allSatisfy(isSoundField) && (request.trailers ?? []).allSatisfy(isSoundField)
    }

    private static func isSoundField(_ name: String, _ value: String) -> Bool {
        let banned = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
        return StrictRequest.isToken(name) && name == name.lowercased() && !banned.contains(name)
            && StrictRequest.isValue(value) && RecordingPod.trimmed(value) == value
            && (name != "te" || value.lowercased() == "trailers")
    }

    static func check(_ request: Frames, _ bench: Bench) throws -> (problem: String?, accepted: Int) {
        let before = bench.pod.seen.count
        let client = try bench.proxy.client2()
        let hasMore = request.body != nil || request.trailers != nil
        try client.headers(1, block: Frames.block(request.fields), end: !hasMore)
        if let body = request.body { try? client.data(1, body, end: request.trailers == nil) }
        if let trailers = request.trailers { try? client.headers(1, block: Frames.block(trailers), end: true) }
        try? client.settle()  // all of it has been acted on
        try bench.run({ client.streams[1]?.isOver == true || client.peer.hasEnded }) {
            do { return try client.poll() } catch { return false }
        }
        let message = client.streams[1] ?? HTTP2Message()
        client.close()
        try bench.run({ false }, { false })
        let forwarded = Array(bench.pod.seen[before...])
        if let problem = bench.pod.problems.first { return (problem, 0) }
        guard let taken = forwarded.first else {
            let isAnswered = message.isOver || !client.goAways.isEmpty
            return (isAnswered ? try bench.mark() : "neither answered nor reset", 0)
        }
        func value(_ name: String) -> String { request.fields.first { $0.0 == name }?.1 ?? "" }
        if forwarded.count > 1 { return ("one request became \(forwarded)", 0) }
        // With a length a request is whole before more data or bad trailers come; then only the client hears of them.
        let whole = Frames(fields: request.fields, body: taken.body)
        if value("content-length") == "\(taken.body.count)", isSound(whole), message.resetCode != nil {
            return (try bench.mark(), 1)
        }
        if !isSound(request) { return ("the pod got \(taken)", 0) }
        guard taken.method == value(":method"), taken.target == value(":path"), taken.body == request.body ?? [] else {
            return ("it became \(taken)", 0)
        }
        guard message.value("x-pod") == taken.target, message.hasEnded else {
            return ("it was answered with \(message.head)", 0)
        }
        return (try bench.mark(), 1)
    }

    // MARK: Seeded

    /// Run alone: one of them, the number that a failure has printed, is enough to see it again.
    static let seeds: Range<UInt64> = 0..<1_500

    @Test(arguments: Combination.all) func anything(_ combination: Combination) throws {
        try withProxy {
            $0.speak(combination.pod)
            $0.limits.lingerMilliseconds = 1
        } _: { proxy in
            let bench = try Bench(proxy, combination.pod)
            var accepted = 0
            for seed in Self.seeds {
                var random = SeededRandom(seed: seed)
                let found: (problem: String?, accepted: Int), what: String
                if combination.client == .http1 {
                    let bytes = Hostile.bytes(&random)
                    found = try Self.check(bytes, bench)
                    what = String(decoding: bytes, as: UTF8.self).debugDescription
                } else {
                    let request = Hostile.frames(&random)
                    found = try Self.check(request, bench)
                    what = "\(request)"
                }
                accepted += found.accepted
                guard let problem = found.problem else { continue }
                Issue.record("seed \(seed): \(problem); sent \(what)")
                return
            }
            #expect(accepted > Self.seeds.count / 6, "too hostile to test anything: \(accepted)")
        }
    }
}

/// Requests near the rules and beyond them.
enum Hostile {
    private static let host = "Host: \(ProxyHarness.host)\r\n"
    private static let whole: [String] = [
        "GET /a?b HTTP/1.1\r\n\(host)\r\n", "POST /p HTTP/1.1\r\n\(host)Content-Length: 5\r\n\r\nhello",
        "PUT /p HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n"
            + "X-T: 1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\(host)Connection: X-A\r\nX-A: b\r\n\r\n",
        "GET http://\(ProxyHarness.host)/x?y HTTP/1.1\r\n\(host)Cookie: a=b\r\n\r\n",
        "\r\nDELETE /d HTTP/1.1\r\n\(host)TE: trailers\r\nConnection: te\r\n\r\n",
    ]
    private static let splinters: [String] = [
        "\r\n", "\r", "\n", "\r\n\r\n", " ", "\t", ":", ",", ";", "\0", "\u{b}", "\u{7f}", "\u{ff}", "#", "@", "0", "1",
        "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length: 1, 1\r\n", "Content-Length:+1\r\n",
        "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding : chunked\r\n",
        "Host: evil\r\n", host, "Connection: close\r\n", "Connection: Host, Content-Length\r\n", " folded\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n", "Expect: 100-continue\r\n", "X: y\r\n", "0\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\n\(host)\r\n", "HTTP/1.0", "//", "http://evil", "PRI * HTTP/2.0\r\n\r\n",
    ]

    /// One to three requests behind each other, some with changes.
    static func bytes(_ random: inout SeededRandom) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...3, using: &random) { bytes += SmugglingTests.latin(pick(whole, &random)) }
        guard Int.random(in: 0..<4, using: &random) > 0 else { return bytes }
        for _ in 0..<Int.random(in: 1...2, using: &random) {
            let place = Int.random(in: 0...bytes.count, using: &random)
            let span = place..<min(bytes.count, place + Int.random(in: 0...8, using: &random))
            let splinter = SmugglingTests.latin(pick(splinters, &random))
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes.removeSubrange(span)
            case 1: bytes.insert(contentsOf: splinter, at: place)
            case 2, 3:
                // Behind a line end, where fields and chunks begin.
                let end = bytes.indices.filter { bytes[$0] == 10 }.randomElement(using: &random) ?? 0
                bytes.insert(contentsOf: splinter, at: end + 1)
            default: bytes.replaceSubrange(span, with: splinter)
            }
        }
        return bytes
    }

    private static let odd: [(String, String)] = [
        (":path", "/other"), (":authority", "evil"), (":status", "200"), (":protocol", "websocket"), (":odd", "x"),
        ("connection", "close"), ("connection", "x"), ("keep-alive", "1"), ("proxy-connection", "x"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"), ("te", "trailers"), ("te", "gzip"), ("te", "trailers, gzip"),
        ("host", ProxyHarness.host), ("host", "evil"), ("host", ""), ("content-length", "0"), ("content-length", "5"),
        ("content-length", "5, 5"), ("content-length", "+5"), ("content-length", "-1"), ("content-length", ""),
        ("content-length", "99999999999999999999"), ("X-Upper", "y"), ("x y", "z"), ("x:", "y"), ("", "empty"),
        ("x\r\ny", "z"), ("x", "a\r\nTransfer-Encoding: chunked"), ("x", "a\nb"), ("x", "a\0b"), ("x", "a\rb"),
        ("x", " a"), ("x", "a\t"), ("x", "\u{1}"), ("x", "\u{ff}\u{80}"), ("cookie", "a=b"), ("cookie", "c=d; e"),
        ("cookie", ""), ("expect", "100-continue"), ("trailer", "x"), ("x-forwarded-for", "1.2.3.4"), ("x", ""),
        ("http2-settings", "AAMAAABk"), ("forwarded", "for=evil"), ("k-proxy-request", "x"), ("x", "plain"),
    ]
    private static let paths = [
        "/", "/a?b", "*", "", "http://\(ProxyHarness.host)/", "a", "/a b", "/a#b", "/\u{7f}", "/ HTTP/1.1\r\nX: y",
        "//",
        "/\u{ff}", "?a", "/%00",
    ]
    private static let authorities = [
        ProxyHarness.host, "\(ProxyHarness.host):80", "evil", "", "user@\(ProxyHarness.host)",
        "\(ProxyHarness.host):80:80", "\(ProxyHarness.host)/x", "\(ProxyHarness.host)\r\nX: y", "HELLO.example.com",
    ]
    private static let methods = [
        "GET", "POST", "HEAD", "OPTIONS", "CONNECT", "get", "G T", "", "GET / HTTP/1.1\r\nX:",
    ]

    /// One request, often with something odd.
    static func frames(_ random: inout SeededRandom) -> SmugglingTests.Frames {
        func seldom<Value>(_ list: [Value], _ random: inout SeededRandom) -> Value {
            Int.random(in: 0..<8, using: &random) > 0 ? list[0] : pick(list, &random)
        }
        var fields = [
            (":method", Bool.random(using: &random) ? "POST" : seldom(methods, &random)),
            (":scheme", seldom(["http", "https", "ftp", "", "h t"], &random)),
            (":authority", seldom(authorities, &random)), (":path", seldom(paths, &random)),
        ]
        if Int.random(in: 0..<10, using: &random) == 0 { fields.remove(at: Int.random(in: 0..<4, using: &random)) }
        if Int.random(in: 0..<10, using: &random) == 0 { fields.shuffle(using: &random) }
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            let isAnywhere = Int.random(in: 0..<8, using: &random) == 0
            let place = isAnywhere ? Int.random(in: 0...fields.count, using: &random) : fields.count
            fields.insert(pick(odd, &random), at: place)
        }
        var request = SmugglingTests.Frames(fields: fields)
        if Bool.random(using: &random) { request.body = Array("hello".utf8.prefix(seldom([5, 4, 0], &random))) }
        if request.body != nil, Bool.random(using: &random), !fields.contains(where: { $0.0 == "content-length" }) {
            request.fields.append(("content-length", seldom(["\(request.body?.count ?? 0)", "3", "0", "6"], &random)))
        }
        if Int.random(in: 0..<6, using: &random) == 0 { request.trailers = [pick(odd, &random)] }
        return request
    }

    private static func pick<Value>(_ list: [Value], _ random: inout SeededRandom) -> Value {
        list[Int.random(in: 0..<list.count, using: &random)]
    }
}
