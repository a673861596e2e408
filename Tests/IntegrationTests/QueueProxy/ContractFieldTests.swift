import Foundation
import Testing

/// What the container sees of a request, and the client of a response (spec/dataplane 1.8; easy mistakes 8, 13,
/// 19 and 20).
@Suite struct ContractFieldTests {
    /// What reached the container, as Clients/pod.py tells.
    struct Report: Decodable, Sendable {
        let `protocol`: String
        let line: [String?]
        let head: [[String]]
        let bytes: Int
        let sha256: String
        let trailers: [[String]]

        init(_ reply: Wire.Reply, line number: UInt = #line) throws {
            guard reply.status == 200, let body = reply.body else { throw Failure("line \(number): \(reply)") }
            self = try JSONDecoder().decode(Report.self, from: Data(body.utf8))
        }

        func values(_ name: String) -> [String] {
            head.filter { $0[0].lowercased() == name.lowercased() }.map { $0[1] }
        }

        var host: [String] { values("host") + values(":authority") }
    }

    struct Row: Sendable {
        let rule: String
        let sent: [(String, String)]
        /// What the container must see: all values of the field, none for [].
        let seen: [String: [String]]
        /// HTTP/2 does not know the field.
        var isHTTP1Only = false
    }

    static let peer = "127.0.0.1"

    /// What Forwarded becomes of three fields; an empty text is an absent field.
    private static func forwarded(_ xff: String, _ host: String, _ proto: String, _ wanted: String) -> Row {
        let all = [("X-Forwarded-For", xff), ("X-Forwarded-Host", host), ("X-Forwarded-Proto", proto)]
        let seen = [
            "forwarded": [wanted], "x-forwarded-for": [xff.isEmpty ? peer : "\(xff), \(peer)"],
            "x-forwarded-host": host.isEmpty ? [] : [host], "x-forwarded-proto": proto.isEmpty ? [] : [proto],
        ]
        return Row(rule: "Forwarded: \(wanted)", sent: all.filter { !$0.1.isEmpty }, seen: seen)
    }

    static let forwarding: [Row] = [
        forwarded("127.0.0.1, ::1", "h", "p", #"for=127.0.0.1;host=h;proto=p, for="[::1]""#),
        forwarded("127.0.0.1", "h", "p", "for=127.0.0.1;host=h;proto=p"),
        forwarded("127.0.0.1, ::1", "", "", #"for=127.0.0.1, for="[::1]""#),
        forwarded("127.0.0.1, ::1", "", "p", #"for=127.0.0.1;proto=p, for="[::1]""#),
        forwarded("127.0.0.1, ::1", "h", "", #"for=127.0.0.1;host=h, for="[::1]""#),
        forwarded("", "h", "", "host=h"),
        forwarded("", "", "https", "proto=https"),
        forwarded("", "h", "p", "host=h;proto=p"),
        forwarded(",,,", "", "", "for=, for=, for="),
        forwarded("10.0.0.1,10.0.0.2", "h", "https", "for=10.0.0.1;host=h;proto=https, for=10.0.0.2"),
        Row(
            rule: "an existing Forwarded stays",
            sent: [("Forwarded", "for=a, for=b"), ("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "p")],
            seen: ["forwarded": ["for=a, for=b"], "x-forwarded-for": ["1.2.3.4, \(peer)"]]),
        Row(
            rule: "none of the three: no Forwarded, none of the others is made up", sent: [],
            seen: [
                "forwarded": [], "x-forwarded-for": [peer], "x-forwarded-proto": [], "x-forwarded-host": [],
            ]),
        Row(
            rule: "several X-Forwarded-For lines: joined, and only the first one counts for Forwarded",
            sent: [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")],
            seen: ["forwarded": ["for=1.1.1.1"], "x-forwarded-for": ["1.1.1.1, 2.2.2.2, \(peer)"]]),
    ]

    static let stripped: [Row] = [
        Row(
            rule: "the two revision fields are removed",
            sent: [("Knative-Serving-Revision", "r"), ("Knative-Serving-Namespace", "n")],
            seen: ["knative-serving-revision": [], "knative-serving-namespace": []]),
        Row(
            rule: "K-Proxy-Request and K-Passthrough-Lb do not leak",
            sent: [("K-Proxy-Request", "activator"), ("K-Passthrough-Lb", "true")],
            seen: ["k-proxy-request": [], "k-passthrough-lb": []]),
        Row(
            rule: "the tag fields reach the container",
            sent: [("Knative-Serving-Tag", "blue"), ("Knative-Serving-Default-Route", "true")],
            seen: ["knative-serving-tag": ["blue"], "knative-serving-default-route": ["true"]]),
        Row(
            rule: "K-Original-Host becomes Host and is removed", sent: [("K-Original-Host", "original.example.org")],
            seen: ["k-original-host": [], "host": ["original.example.org"]]),
        Row(rule: "Host is the client's", sent: [], seen: ["host": [ContractPod.host]]),
        Row(rule: "no User-Agent is none", sent: [], seen: ["user-agent": []]),
        Row(rule: "User-Agent stays", sent: [("User-Agent", "a/1 (b)")], seen: ["user-agent": ["a/1 (b)"]]),
        Row(rule: "no Accept-Encoding is added", sent: [], seen: ["accept-encoding": [], "via": []]),
        Row(
            rule: "the user's own fields stay, repeated ones too",
            sent: [("X-Own", "1"), ("X-Own", "2"), ("Accept-Encoding", "br"), ("Cookie", "a=1"), ("X-Empty", "")],
            seen: ["x-own": ["1", "2"], "accept-encoding": ["br"], "cookie": ["a=1"], "x-empty": [""]]),
        Row(
            rule: "trace context passes unchanged with tracing off",
            sent: [
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", "a=b"),
                ("baggage", "k=v"),
            ],
            seen: [
                "traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"], "tracestate": ["a=b"],
                "baggage": ["k=v"],
            ]),
        Row(rule: "TE: trailers stays", sent: [("TE", "trailers")], seen: ["te": ["trailers"]]),
        Row(rule: "TE: gzip goes", sent: [("TE", "gzip")], seen: ["te": []], isHTTP1Only: true),
        Row(
            rule: "fields of the connection go, and those that Connection names",
            sent: [
                ("Connection", "X-Private, keep-alive"), ("X-Private", "1"), ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "keep-alive"), ("X-Public", "2"),
            ],
            seen: ["x-private": [], "keep-alive": [], "proxy-connection": [], "x-public": ["2"]], isHTTP1Only: true),
        Row(
            rule: "fields of a proxy go",
            sent: [("Proxy-Authorization", "Basic eA=="), ("Proxy-Authenticate", "Basic")],
            seen: ["proxy-authorization": [], "proxy-authenticate": []]),
        Row(
            rule: "Connection cannot name Host or the forwarding fields away",
            sent: [("Connection", "Host, X-Forwarded-For, Content-Length"), ("X-Forwarded-Proto", "p")],
            seen: ["host": [ContractPod.host], "x-forwarded-for": [peer]], isHTTP1Only: true),
    ]

    /// Every row in every protocol; the container is spoken to in the client's.
    @Test func fieldsOfRequests() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running([:], .reporter, certificates: certificates) { pod throws in
            let wire = try Wire(pod.scratch)
            _ = (try pod.port(), try pod.port(.tls))
            let ways: [Wire.Way] = [.h1, .h2c, .tls1, .tls2, .bare2]
            let all = (Self.forwarding + Self.stripped).flatMap { row in ways.map { (row, $0) } }
            concurrently(all.filter { !$0.0.isHTTP1Only || !$0.1.isHTTP2 }, name: { "\($0.0.rule) [\($0.1)]" }) {
                row, way in
                let report = try Report(wire.perform(Wire.Request("/report?x=1", fields: row.sent), way, pod))
                try demandEqual(report.protocol, way.isHTTP2 ? "HTTP/2" : "HTTP/1.1")
                try demandEqual(Array(report.line.prefix(2)), ["GET", "/report?x=1"])
                for (name, wanted) in row.seen {
                    let found = name == "host" ? report.host : report.values(name)
                    try demandEqual(found, wanted, "\(name) in \(report.head)")
                }
            }
        }
    }

    /// Bodies, trailers and Expect, in every protocol.
    @Test func bodiesOfRequests() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running([:], .reporter, certificates: certificates) { pod throws in
            let wire = try Wire(pod.scratch)
            _ = (try pod.port(), try pod.port(.tls))
            concurrently(Wire.Way.allCases.filter { $0 != .upgrade }, name: { "bodies over \($0)" }) { way in
                var request = Wire.Request("/report", fields: [("X-A", "b")])
                (request.method, request.bodyBytes) = ("POST", 300_000)
                try demandEqual(try Report(wire.perform(request, way, pod)).bytes, 300_000)
                request.fields = [["Expect", "100-continue"]]
                let expected = try wire.perform(request, way, pod)
                try demandEqual(try Report(expected).bytes, 300_000)
                try demand((expected.interim ?? []).contains { $0.status == 100 }, "no 100 Continue: \(expected)")
                (request.fields, request.bodyBytes, request.body) = ([], nil, "hello")
                request.trailers = [["X-Sum", "5"]]
                let trailed = try Report(wire.perform(request, way, pod))
                try demandEqual(trailed.bytes, 5)
                try demandEqual(trailed.trailers.map { [$0[0].lowercased(), $0[1]] }, [["x-sum", "5"]])
                for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
                    var plain = Wire.Request("/report")
                    plain.method = method
                    try demandEqual(try Report(wire.perform(plain, way, pod)).line.first, method)
                }
            }
        }
    }

    static let responses: [Rule<(ContractPod, Wire, Wire.Way)>] = [
        Rule("fields of the connection are removed from responses, others stay") { pod, wire, way in
            let reply = try wire.perform(Wire.Request("/fields"), way, pod)
            try demandEqual(reply.values("set-cookie"), ["a=1; Path=/", "b=2"])
            try demandEqual(reply.values("x-empty") + reply.values("x-hop") + reply.values("keep-alive"), [""])
            try demandEqual(reply.body, "fields\n")
        },
        Rule("interim responses pass") { pod, wire, way in
            let reply = try wire.perform(Wire.Request("/early"), way, pod)
            let links = (reply.interim ?? []).filter { $0.status == 103 }.flatMap(\.fields).filter {
                $0[0].lowercased() == "link"
            }
            try demandEqual(links.map { $0[1] }, ["</style.css>; rel=preload"], "\(reply)")
            try demand(reply.status == 200 && reply.body == "then\n", "\(reply)")
        },
        Rule("trailers pass, unannounced ones too") { pod, wire, way in
            let reply = try wire.perform(Wire.Request("/trailers"), way, pod)
            try demandEqual(
                (reply.trailers ?? []).map { [$0[0].lowercased(), $0[1]] }, [["x-sum", "5"], ["x-end", "yes"]])
            try demandEqual(reply.body, "body\n")
        },
        Rule("statuses pass as they are") { pod, wire, way in
            for status in [201, 204, 304, 400, 404, 418, 429, 500, 502, 503, 504, 599] {
                let reply = try wire.perform(Wire.Request("/status/\(status)"), way, pod)
                try demand(reply.status == status && reply.count == 0 && reply.ended == true, "\(status): \(reply)")
            }
        },
        Rule("HEAD keeps the length and has no body") { pod, wire, way in
            var request = Wire.Request("/bytes/1234")
            request.method = "HEAD"
            let reply = try wire.perform(request, way, pod)
            try demand(
                reply.count == 0 && reply.values("content-length") == ["1234"] && reply.ended == true, "\(reply)")
        },
        Rule("a long body arrives whole") { pod, wire, way in
            let reply = try wire.perform(Wire.Request("/bytes/3000000"), way, pod)
            try demand(reply.count == 3_000_000 && reply.ended == true, "\(reply.count ?? 0)")
        },
        Rule("a container that dies in the middle of a body: no proper end") { pod, wire, way in
            let reply = try wire.perform(Wire.Request("/cut"), way, pod)
            try demand(reply.ended == false && (!way.isHTTP2 || reply.reset != nil), "\(reply)")
            try demandEqual(reply.status, 200)
        },
    ]

    @Test func whatComesBack() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running([:], .reporter, certificates: certificates) { pod throws in
            let wire = try Wire(pod.scratch)
            _ = (try pod.port(), try pod.port(.tls))
            let ways: [Wire.Way] = [.h1, .h2c, .tls1, .tls2, .bare2]
            let all = Self.responses.flatMap { rule in ways.map { (rule, $0) } }
            concurrently(all, name: { "\($0.0.text) [\($0.1)]" }) { rule, way in try rule.check((pod, wire, way)) }
        }
    }

    /// 1.3: HTTP/1.1 with `Upgrade: h2c` is answered on stream 1, and the body of the first request is not lost.
    @Test func upgradeToHTTP2() throws {
        try ContractPod.running([:], .reporter) { pod throws in
            let wire = try Wire(pod.scratch)
            var request = Wire.Request("/report", fields: [("X-A", "b"), ("X-Forwarded-Proto", "https")])
            let report = try Report(wire.perform(request, .upgrade, pod))
            #expect(
                report.values("x-a") == ["b"] && report.values("http2-settings") == [] && report.values("upgrade") == []
            )
            #expect(report.values("forwarded") == ["proto=https"])
            (request.method, request.bodyBytes) = ("POST", 5_000)
            #expect(try Report(wire.perform(request, .upgrade, pod)).bytes == 5_000)
            request = Wire.Request("/", fields: [("User-Agent", "kube-probe/1"), ("K-Network-Probe", "queue")])
            #expect(try wire.perform(request, .upgrade, pod).body == "queue")
        }
    }
}
