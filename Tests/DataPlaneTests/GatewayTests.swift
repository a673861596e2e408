import EventLoop
import HTTP2Wire
import Routing
import Testing

@testable import DataPlane

/// A worker that stands at the front of a cluster (spec/dataplane 5.1, 5.4).
@Suite struct GatewayTests {
    static let peer = "127.0.0.1"

    static func rule(
        _ fields: [String: String] = [:], host: String? = nil, version: String = "", isClusterLocal: Bool = false,
        leadsToHTTPS: Bool = false
    ) -> GatewayRule {
        var problems: [String] = []
        let rule = GatewayRule(
            fields: fields, host: host, version: version, isClusterLocal: isClusterLocal, leadsToHTTPS: leadsToHTTPS,
            problems: &problems)
        #expect(problems.isEmpty, "\(problems)")
        return rule
    }

    static func withGateway(
        _ rules: [GatewayRule?], routes: [Route]? = nil, _ configure: (inout ProxySetup) -> Void = { _ in },
        _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        try withProxy(
            { setup in
                setup.forwarding = .gateway
                setup.timeouts.total = 0
                setup.rules = rules
                if let routes { setup.routes = routes }
                configure(&setup)
            }, body)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let rule: GatewayRule?
        /// What the client sends.
        let sent: [String]
        /// What the pod gets of these and of what is set, in any order; what every request gets left out.
        let received: [String]

        init(_ name: String, _ rule: GatewayRule?, _ sent: [String], _ received: [String]) {
            (testDescription, self.rule, self.sent, self.received) = (name, rule, sent, received)
        }
    }

    static let revision = rule([
        "Knative-Serving-Revision": "hello-00007", "Knative-Serving-Namespace": "default",
    ])
    static let cases: [Case] = [
        Case("nothing is set", nil, ["X-Own: 1"], ["x-own: 1"]),
        Case(
            "a client cannot choose the revision", nil,
            [
                "Knative-Serving-Revision: other", "Knative-Serving-Namespace: other", "K-Proxy-Request: activator",
                "K-Original-Host: other.example.com", "K-Passthrough-Lb: true", "K-Kubelet-Probe: x",
                "Knative-Direct-Lb: true",
            ], []),
        Case(
            "what it sends is replaced", revision,
            ["Knative-Serving-Revision: other", "knative-serving-revision: another", "X-Own: 1"],
            ["x-own: 1", "knative-serving-namespace: default", "knative-serving-revision: hello-00007"]),
        Case(
            "of fields that nobody knows too, in any case", rule(["X-Foo": "ours", "Knative-Serving-Tag": "blue"]),
            ["x-foo: theirs", "X-FOO: theirs", "X-Foo-Bar: theirs", "Knative-Serving-Tag: green"],
            ["x-foo-bar: theirs", "knative-serving-tag: blue", "x-foo: ours"]),
        Case(
            "tags and probes pass", revision,
            ["Knative-Serving-Tag: blue", "K-Network-Probe: probe", "User-Agent: Knative-Ingress-Probe"],
            [
                "knative-serving-tag: blue", "k-network-probe: probe", "user-agent: Knative-Ingress-Probe",
                "knative-serving-namespace: default", "knative-serving-revision: hello-00007",
            ]),
        Case(
            "a prober gets the version", rule(version: "abc123"), ["K-Network-Hash: override"],
            ["k-network-hash: abc123"]),
        Case(
            "but for another hash it is as any field", rule(version: "abc123"), ["K-Network-Hash: Override"],
            ["k-network-hash: Override"]),
        Case("and without a version", rule(), ["K-Network-Hash: override"], ["k-network-hash: override"]),
        Case(
            "a hash that is set goes first", rule(["K-Network-Hash": "set"], version: "abc123"),
            ["K-Network-Hash: override"], ["k-network-hash: set"]),
        Case("an empty value is set", rule(["X-Foo": ""]), ["X-Foo: theirs"], ["x-foo:"]),
        Case(
            "the id of a request may be set", rule(["X-Request-Id": "ours"]), ["X-Request-Id: theirs"],
            [
                "x-request-id: ours"
            ]),
    ]

    /// What every request gets.
    static let always: Set<String> = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "host"]

    private func comparable(_ lines: [String], _ example: Case) -> [String] {
        let kept = lines.map { line -> String in
            let name = line.prefix { $0 != ":" }
            let value = line.dropFirst(name.count + 1).drop { $0 == " " }
            return value.isEmpty ? name.lowercased() + ":" : "\(name.lowercased()): \(value)"
        }
        let hasID = example.received.contains { $0.hasPrefix("x-request-id") }
        return kept.filter { line in
            let name = String(line.prefix { $0 != ":" })
            return !Self.always.contains(name) && (hasID || name != "x-request-id")
        }.sorted()
    }

    @Test(arguments: cases) func fields(example: Case) throws {
        _ = try Self.withGateway([example.rule]) { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/p?q", example.sent.map { $0 + "\r\n" }.joined()))
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(message.startLine == "GET /p?q HTTP/1.1")
            #expect(comparable(message.fields, example) == example.received.sorted())
            #expect(message.values("Host") == [ProxyHarness.host])
            #expect(message.values("X-Forwarded-For") == [Self.peer])
            #expect(message.values("X-Forwarded-Proto") == ["http"])
            #expect(message.values("X-Request-Id").count == 1)
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try client.receiveHead().status == 204)
        }
    }

    @Test(arguments: cases) func fieldsOfStreams(example: Case) throws {
        _ = try Self.withGateway([example.rule]) {
            $0.upstreamProtocol = .h2c
        } _: { proxy in
            let client = try proxy.client2()
            let sent = example.sent.map(Talk.pair).map { ($0.0.lowercased(), $0.1) }
            let stream = try client.request(ProxyHarness.fields("GET", "/p?q") + sent)
            let pod = try proxy.accept2()
            let (number, message) = try pod.nextRequest()
            #expect(message.value(":authority") == ProxyHarness.host && message.value(":path") == "/p?q")
            let lines = message.head.filter { !$0.0.hasPrefix(":") }.map { "\($0.0): \($0.1)" }
            #expect(comparable(lines, example) == example.received.sorted())
            #expect(message.values("x-forwarded-for") == [Self.peer])
            try Talk.response(204).send(pod, number)
            #expect(try client.receiveMessage(stream).status == 204)
        }
    }

    /// The host that a DomainMapping's Ingress names goes upstream; who asked for what is still told.
    @Test func rewrittenHost() throws {
        let rewriting = Self.rule(["K-Original-Host": ProxyHarness.host], host: "hello.default.svc.cluster.local")
        _ = try Self.withGateway([rewriting]) { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", "K-Original-Host: other\r\n"))
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(message.values("Host") == ["hello.default.svc.cluster.local"])
            #expect(message.values("K-Original-Host") == [ProxyHarness.host])
            #expect(message.values("X-Forwarded-Host") == [ProxyHarness.host])
            #expect(message.value("Forwarded") == "for=127.0.0.1;host=hello.example.com;proto=http")
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try client.receiveHead().status == 204)
        }
        _ = try Self.withGateway([rewriting]) {
            $0.upstreamProtocol = .h2c
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept2()
            let (number, message) = try pod.nextRequest()
            #expect(message.value(":authority") == "hello.default.svc.cluster.local")
            #expect(message.values("x-forwarded-host") == [ProxyHarness.host] && message.values("host").isEmpty)
            try Talk.response(204).send(pod, number)
            #expect(try client.receiveHead().status == 204)
        }
    }

    /// Hosts that are cluster-local are not there for others; parts of the cluster are believed.
    @Test func listeners() throws {
        let local = Self.rule(isClusterLocal: true)
        var inside = ListenerOptions(.loopback(port: 0))
        (inside.servesClusterLocal, inside.believesForwarded) = (true, true)
        let routes = [
            Route(host: ProxyHarness.host, splits: [Split(target: 0, percent: 100)]),
            Route(host: "public.example.com", splits: [Split(target: 1, percent: 100)]),
        ]
        let log = try Self.withGateway([local, nil], routes: routes) {
            $0.listeners.append(inside)
        } _: { proxy in
            let stranger = try proxy.client(), part = try proxy.client(listener: 1)
            try stranger.send(ProxyHarness.get())
            #expect(try stranger.receiveMessage().status == 404)
            let fields = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nK-Original-Host: a.b\r\n"
            try part.send(ProxyHarness.get("/", fields))
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(message.values("X-Forwarded-For") == ["1.2.3.4, 127.0.0.1"])
            #expect(message.values("X-Forwarded-Proto") == ["https"] && message.values("K-Original-Host") == ["a.b"])
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try part.receiveHead().status == 204)
            for client in [stranger, part] {
                try client.send("GET / HTTP/1.1\r\nHost: public.example.com\r\n\(fields)\r\n")
                let forwarded = try pod.receiveHead().values("X-Forwarded-For")
                #expect(forwarded == [client === part ? "1.2.3.4, 127.0.0.1" : "127.0.0.1"])
                try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                #expect(try client.receiveHead().status == 204)
            }
        }
        #expect(log.first?.contains(" 404 NR ") == true, "\(log)")
    }

    /// Paths and fields choose, the query does not; what no path takes is not found.
    @Test func paths() throws {
        func to(_ target: Int) -> [Split] { [Split(target: target, percent: 100)] }
        let tagged = [FieldCondition(name: "Knative-Serving-Tag", value: "blue")]
        let route = Route(
            host: ProxyHarness.host,
            paths: [
                RoutePath(prefix: "/a", splits: to(0)), RoutePath(prefix: "/a/b", splits: to(1)),
                RoutePath(prefix: "/a", conditions: tagged, splits: to(2)),
            ])
        let rules = ["zero", "one", "two"].map { Self.rule(["X-Chosen": $0]) }
        _ = try Self.withGateway(rules, routes: [route]) { proxy in
            let client = try proxy.client(), client2 = try proxy.client2()
            var pod: Peer?
            let asked: [(String, String?, String?)] = [
                ("/a", nil, "zero"), ("/a/bc", nil, "one"), ("/a?/b", nil, "zero"), ("/a", "blue", "two"),
                ("/a/b", "blue", "one"), ("/a", "green", "zero"), ("/b", nil, nil), ("/?/a", nil, nil),
                ("http://hello.example.com/a/b", nil, "one"), ("http://hello.example.com?/a", nil, nil),
            ]
            for (path, tag, chosen) in asked {
                try client.send(ProxyHarness.get(path, tag.map { "Knative-Serving-Tag: \($0)\r\n" } ?? ""))
                if let chosen {
                    let peer = try pod ?? proxy.accept()
                    pod = peer
                    #expect(try peer.receiveHead().values("X-Chosen") == [chosen], "\(path)")
                    try peer.send("HTTP/1.1 204 No Content\r\n\r\n")
                }
                #expect(try client.receiveMessage().status == (chosen == nil ? 404 : 204), "\(path)")
                guard path.hasPrefix("/") else { continue }
                let fields = tag.map { [("knative-serving-tag", $0)] } ?? []
                let stream = try client2.request(ProxyHarness.fields("GET", path) + fields)
                if let chosen, let pod {
                    #expect(try pod.receiveHead().values("X-Chosen") == [chosen], "\(path)")
                    try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                }
                #expect(try client2.receiveMessage(stream).status == (chosen == nil ? 404 : 204), "\(path)")
            }
        }
    }

    /// 301 for routes that say so, at listeners that can; never for the challenges of ACME.
    @Test func redirects() throws {
        let routes = [
            Route(host: ProxyHarness.host, splits: [Split(target: 0, percent: 100)]),
            Route(host: "plain.example.com", splits: [Split(target: 1, percent: 100)]),
        ]
        _ = try Self.withGateway([Self.rule(leadsToHTTPS: true), Self.rule()], routes: routes) {
            $0.listeners = [
                ListenerOptions(.loopback(port: 0), redirectPort: 8443), ListenerOptions(.loopback(port: 0)),
            ]
        } _: { proxy in
            let client = try proxy.client(), client2 = try proxy.client2()
            try client.send(ProxyHarness.get("/x?y"))
            let answer = try client.receiveMessage()
            #expect(answer.status == 301 && answer.value("Location") == "https://hello.example.com:8443/x?y")
            let stream = try client2.request(ProxyHarness.fields("GET", "/x"))
            #expect(try client2.receiveMessage(stream).value("location") == "https://hello.example.com:8443/x")
            try client.send(ProxyHarness.get("/.well-known/acme-challenge/token"))
            let pod = try proxy.accept()
            func served(_ client: Peer) throws {
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                #expect(try client.receiveHead().status == 204)
            }
            try served(client)
            try client.send("GET / HTTP/1.1\r\nHost: plain.example.com\r\n\r\n")
            try served(client)
            let other = try proxy.client(listener: 1)
            try other.send(ProxyHarness.get())
            try served(other)
        }
    }
}

/// A gateway's service without endpoints.
@Suite struct GatewayWaitTests {
    /// After a short wait: 503 with Envoy's text, flag UH; gRPC's as gRPC's.
    @Test func noEndpoint() throws {
        let log = try GatewayTests.withGateway([nil]) {
            $0.pods = 0
            $0.limits.endpointWaitMilliseconds = 50
        } _: { proxy in
            let client = try proxy.client(), client2 = try proxy.client2()
            try client.send(ProxyHarness.get())
            let answer = try client.receiveMessage()
            #expect(answer.status == 503 && answer.body == "no healthy upstream")
            #expect(answer.value("Retry-After") == "1")
            let call = try client2.request(
                ProxyHarness.fields("POST", "/") + [("content-type", "application/grpc")], end: false)
            let told = try client2.receiveMessage(call)
            #expect(told.status == 200 && told.value("grpc-status") == "14")
            let upload = try client2.request(ProxyHarness.fields("POST", "/"), end: false)
            #expect(try client2.receiveMessage(upload).status == 503)
        }
        #expect(log.count == 3 && log.allSatisfy { $0.contains(" UH ") }, "\(log)")
    }

    /// One that comes in time serves whoever waits, in any version; afterwards there is no time limit.
    @Test func endpointComesInTime() throws {
        _ = try GatewayTests.withGateway([nil]) {
            $0.limits.endpointWaitMilliseconds = 30_000
            $0.limits.bodyIdleTimeoutMilliseconds = 30_000
        } _: { proxy in
            _ = proxy.gate.setEndpoints([])
            let client = try proxy.client(), client2 = try proxy.client2()
            try client.send(ProxyHarness.get("/one"))
            let stream = try client2.request(ProxyHarness.fields("POST", "/two"), end: false)
            try proxy.until("waiting") { _ in proxy.gate.waiting == 2 }
            for grant in proxy.gate.setEndpoints(proxy.endpoints).grants {
                proxy.group.post(.grant(proxy.target, grant), to: grant.waiter.worker)
            }
            let first = try proxy.accept(), second = try proxy.accept()
            let heads = [try first.receiveHead().startLine, try second.receiveHead().startLine].sorted()
            #expect(heads == ["GET /one HTTP/1.1", "POST /two HTTP/1.1"])
            try client2.data(stream, [], end: true)
            for pod in [first, second] { try pod.send("HTTP/1.1 204 No Content\r\n\r\n") }
            #expect(try client.receiveHead().status == 204)
            #expect(try client2.receiveMessage(stream).status == 204)
        }
    }

    /// An endpoint that refuses is suspended and told of; the request waits for another one.
    @Test func refusingEndpoint() throws {
        let log = try GatewayTests.withGateway([nil]) {
            $0.pods = 2
            $0.limits.endpointWaitMilliseconds = 50
        } _: { proxy in
            proxy.pods[0].stop()
            let client = try proxy.client()
            for _ in 0..<8 {
                try client.send(ProxyHarness.get())
                let pod = try proxy.pods[1].accept()
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                #expect(try client.receiveHead().status == 204)
            }
            #expect(proxy.endpoints[0].state == .suspended)
            _ = try proxy.event { if case .suspect(_, let endpoint) = $0 { endpoint } else { nil } }
            proxy.pods[1].stop()
            try client.send(ProxyHarness.get())
            let answer = try client.receiveMessage()
            #expect(answer.status == 503 && answer.body == "no healthy upstream")
        }
        #expect(log.last?.contains(" UH") == true || log.last?.contains("UF") == true, "\(log)")
    }
}

@Suite struct GatewayRuleTests {
    static let refusals: [([String: String], String)] = [
        (["Content-Length": "5"], "a field that only a proxy sets: Content-Length"),
        (["Transfer-Encoding": "chunked"], "a field that only a proxy sets: Transfer-Encoding"),
        (["connection": "close"], "a field that only a proxy sets: connection"),
        (["Host": "a"], "a field that only a proxy sets: Host"),
        (["X-Forwarded-For": "a"], "a field that only a proxy sets: X-Forwarded-For"),
        (["a b": "c"], "no name of a field: \"a b\""), (["": "c"], "no name of a field: \"\""),
        (["A": "b\r\nC: d"], "no value of a field: A: \"b\\r\\nC: d\""),
        (["A": "\u{0}"], "no value of a field: A: \"\\0\""), (["A": " b"], "no value of a field: A: \" b\""),
    ]

    @Test(arguments: refusals) func refused(fields: [String: String], problem: String) {
        var problems: [String] = []
        let rule = GatewayRule(fields: fields.merging(["Fine": "1"]) { $1 }, problems: &problems)
        #expect(problems == [problem])
        #expect(rule.fields.map(\.name) == ["Fine"])
    }

    @Test func limits() {
        var problems: [String] = []
        let many = Dictionary(uniqueKeysWithValues: (0..<40).map { ("A\($0)", "b") })
        #expect(GatewayRule(fields: many, problems: &problems).fields.count == GatewayRule.fieldLimit)
        #expect(problems.count == 8)
        for host in ["a b", "", "a/b", String(repeating: "a", count: 300)] {
            problems = []
            #expect(GatewayRule(host: host, problems: &problems).host == nil && problems.count == 1, "\(host)")
        }
        problems = []
        #expect(GatewayRule(host: "a.b:80", problems: &problems).host == "a.b:80" && problems.isEmpty)
    }
}
