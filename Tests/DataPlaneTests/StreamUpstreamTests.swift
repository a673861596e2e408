import HTTP2Wire
import Testing

@testable import DataPlane

/// Pods of HTTP/2: connections shared by streams, limits of the pod, failures and second tries.
@Suite struct StreamUpstreamTests {
    static let post = Talk.post("hello")

    private func withPod(
        _ configure: (inout ProxySetup) -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        try withProxy(
            {
                $0.upstreamProtocol = .h2c
                configure(&$0)
            }, body)
    }

    // MARK: Sharing

    /// Streams of different clients, of both versions, on one connection.
    @Test func streamsShareAConnection() throws {
        _ = try withPod { proxy in
            let (first, second) = (try proxy.client(), try proxy.client2())
            try first.send(ProxyHarness.get("/1"))
            let pod = try proxy.accept2()
            let one = try pod.nextStream()
            try second.request(ProxyHarness.fields("GET", "/2"))
            try second.request(ProxyHarness.fields("GET", "/3"))
            let (two, three) = (try pod.nextStream(), try pod.nextStream())
            #expect([one, two, three] == [1, 3, 5] && !proxy.pods[0].isConnectionWaiting())
            #expect(try proxy.total().upstreams == 1)
            // Answered in another order.
            try Talk.response(200, "3").send(pod, three)
            try Talk.response(200, "1").send(pod, one)
            try Talk.response(200, "2").send(pod, two)
            #expect(try first.receiveMessage().body == "1")
            #expect(try second.receiveMessage(1).text == "2")
            #expect(try second.receiveMessage(3).text == "3")
            try proxy.until("unused") { $0.pooledUpstreams == 1 && $0.upstreams == 0 }
        }
    }

    /// The pod's limit on streams is kept to: more requests, more connections.
    @Test func limitOfThePod() throws {
        _ = try withPod { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("GET", "/0"))
            let pod = try proxy.accept2(settings: [(3, 2)])
            _ = try pod.nextStream()
            try pod.settle()
            try client.request(ProxyHarness.fields("GET", "/1"))
            _ = try pod.nextStream()
            try client.request(ProxyHarness.fields("GET", "/2"))
            let other = try proxy.accept2(settings: [(3, 2)])
            let third = try other.nextStream()
            #expect(other.streams[third]?.value(":path") == "/2")
            #expect(pod.opened == [1, 3])
            try Talk.response().send(pod, 1)
            _ = try client.receiveMessage(1)
            // The first connection has room again, and is the older one.
            try client.request(ProxyHarness.fields("GET", "/3"))
            #expect(try pod.nextStream() == 5)
        }
    }

    /// Many requests at once, to a pod that takes few streams a connection and has not said so yet: all are served.
    @Test func burstBeforeTheLimitIsKnown() throws {
        _ = try withPod { proxy in
            let client = try proxy.client2()
            let count = 12, limit = 5
            for index in 0..<count { try client.request(ProxyHarness.fields("GET", "/\(index)")) }
            var pods: [HTTP2Peer] = [], served = 0
            while served < count, !client.hasAnswered(503), !client.hasAnswered(502) {
                if proxy.pods[0].isConnectionWaiting(1) {
                    pods.append(try proxy.accept2(settings: [(3, UInt32(limit))]))
                }
                for pod in pods {
                    try pod.poll(milliseconds: 1)
                    // As a server does that has said its limit: what came at once beyond it is refused.
                    let streams = try (0..<pod.untoldStreams).map { _ in try pod.nextStream() }
                    for stream in streams.dropFirst(limit) { try pod.reset(stream, 7) }
                    for stream in streams.prefix(limit) { try Talk.response().send(pod, stream) }
                    served += min(limit, streams.count)
                }
                try client.poll()
            }
            for index in 0..<count { #expect(try client.receiveMessage(UInt32(2 * index + 1)).status == 200) }
        }
    }

    /// The streams of one client are spread over the pods.
    @Test func balancedPerStream() throws {
        _ = try withPod {
            $0.pods = 2
            $0.concurrency = 2
        } _: { proxy in
            let client = try proxy.client2()
            for _ in 0..<4 { try client.request(ProxyHarness.fields()) }
            let pods = [try proxy.accept2(pod: 0), try proxy.accept2(pod: 1)]
            for pod in pods {
                let streams = [try pod.nextStream(), try pod.nextStream()]
                for stream in streams { try Talk.response().send(pod, stream) }
            }
            for stream in [1, 3, 5, 7] as [UInt32] { #expect(try client.receiveMessage(stream).status == 200) }
        }
    }

    /// Connections to a retired pod are closed when their last stream has ended.
    @Test func retiredPod() throws {
        _ = try withPod { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields())
            let pod = try proxy.accept2()
            let stream = try pod.nextStream()
            _ = proxy.gate.setEndpoints([])
            proxy.group.post(.forget(proxy.endpoints[0]))
            try pod.until("GOAWAY") { !$0.goAways.isEmpty }
            try Talk.response(200, "last").send(pod, stream)
            #expect(try client.receiveMessage(1).text == "last")
            try pod.expectEnd()
            try proxy.until("closed") { $0.pooledUpstreams == 0 && $0.upstreams == 0 }
        }
    }

    /// Unused connections are closed after their limit.
    @Test func unusedConnection() throws {
        _ = try withPod {
            $0.limits.upstreamIdleMilliseconds = 1
        } _: { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields())
            let pod = try proxy.accept2()
            try Talk.response().send(pod, try pod.nextStream())
            _ = try client.receiveMessage(1)
            try pod.expectEnd()
            #expect(pod.goAways.map(\.code) == [0])
            try proxy.until("closed") { $0.pooledUpstreams == 0 }
        }
    }

    // MARK: Second tries

    /// What the pod refuses before acting on it is sent again, once, whatever its method.
    @Test(arguments: Speech.allCases) func refusedStream(_ speech: Speech) throws {
        for requests in [[Talk()], [Self.post], [.post("hello", .unknown, trailers: ["a: b"])]] {
            _ = try withPod { proxy in
                let line = try Line(proxy, Combination(client: speech, pod: .http2))
                try line.ask(requests[0])
                let first = try proxy.accept2()
                _ = try first.nextRequest()
                try first.reset(1, 7)
                let second = try proxy.accept2()
                let (stream, message) = try second.nextRequest()
                #expect(Talk(message) == requests[0], "\(Talk(message))")
                try Talk.response(200, "second").send(second, stream)
                #expect(try line.hear().body == "second")
                // The connection that refused is not kept for ever.
                try first.expectEnd()
                try proxy.until("one left") { $0.pooledUpstreams == 1 && $0.upstreams == 0 }
            }
        }
    }

    @Test func refusedTwice() throws {
        let log = try withPod { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields())
            for _ in 0..<2 {
                let pod = try proxy.accept2()
                _ = try pod.nextStream()
                try pod.reset(1, 7)
                try pod.settle()
            }
            #expect(try client.receiveMessage(1).status == 502)
        }
        #expect(log.first?.contains(" 502 UC ") == true, "\(log)")
    }

    /// A body too large to be kept is not sent again.
    @Test func refusedWithALargeBody() throws {
        _ = try withPod { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("POST"), end: false)
            try client.body(1, Array(repeating: 1, count: 40_000), end: false)
            let pod = try proxy.accept2()
            try pod.receiveBody(1, count: 40_000)
            try pod.reset(1, 7)
            #expect(try client.receiveHead(1).status == 502)
        }
    }

    /// GOAWAY: streams above the last one go elsewhere, those up to it go on; then the connection is closed.
    @Test func goAwayOfThePod() throws {
        _ = try withPod { proxy in
            let client = try proxy.client2()
            for index in 0..<3 { try client.request(ProxyHarness.fields("POST", "/\(index)")) }
            let pod = try proxy.accept2()
            for _ in 0..<3 { _ = try pod.nextStream() }
            try pod.peer.send(Make.goAway(1))
            let other = try proxy.accept2()
            let paths = try [other.nextStream(), other.nextStream()].map { other.streams[$0]?.value(":path") }
            #expect(Set(paths) == ["/1", "/2"])
            try Talk.response(200, "old").send(pod, 1)
            try Talk.response(200, "new").send(other, 1)
            try Talk.response(200, "new").send(other, 3)
            #expect(try client.receiveMessage(1).text == "old")
            #expect(try client.receiveMessage(3).text == "new")
            #expect(try client.receiveMessage(5).text == "new")
            try pod.expectEnd()
        }
    }

    /// A connection that breaks before an answer: a GET on a reused one is sent again, everything else gets 502.
    @Test(arguments: [("GET", true, true), ("GET", false, false), ("POST", true, false)])
    func brokenConnection(method: String, isReused: Bool, isRetried: Bool) throws {
        _ = try withPod { proxy in
            let client = try proxy.client2()
            var reused: HTTP2Peer?
            if isReused {
                try client.request(ProxyHarness.fields())
                let pod = try proxy.accept2()
                try Talk.response().send(pod, try pod.nextStream())
                _ = try client.receiveMessage(1)
                reused = pod
            }
            let stream = try client.request(ProxyHarness.fields(method, "/x"))
            let broken = try reused ?? proxy.accept2()
            _ = try broken.nextStream()
            broken.peer.reset()
            if isRetried {
                let other = try proxy.accept2()
                try Talk.response(200, "again").send(other, try other.nextStream())
            }
            #expect(try client.receiveMessage(stream).status == (isRetried ? 200 : 502))
        }
    }

    /// A pod that resets a stream: 502 before the head; after it the response is cut so that it cannot pass for whole.
    @Test(arguments: Combination.all.filter { $0.pod == .http2 }, [false, true])
    func resetByThePod(_ combination: Combination, afterHead: Bool) throws {
        let log = try withPod { proxy in
            let line = try Line(proxy, combination)
            try line.ask(Talk())
            _ = try line.takeHead()
            let pod = try #require(line.pod2)
            if afterHead {
                try line.answerHead(Talk(start: "200", length: .unknown))
                try pod.data(line.podStream, Array("part".utf8), end: false)
                if let client = line.client1 { _ = try client.receive(through: "4\r\npart\r\n") }
                try line.client2?.receiveBody(1, count: 4)
            }
            try pod.reset(line.podStream, 2)
            if !afterHead {
                #expect(try line.hear().start == "502")
                try line.marker()
            } else if let client = line.client1 {
                #expect(try client.waitForBreak(), "a reset")
            } else if let client = line.client2 {
                #expect(try client.receiveReset(1) == 2)
                try line.marker()
            }
        }
        #expect(log.first?.contains(" UC ") == true, "\(log)")
    }

    /// A pod that resets with NO_ERROR after a whole response wants no more of the request.
    @Test(arguments: Speech.allCases) func earlyResponse(_ speech: Speech) throws {
        _ = try withPod { proxy in
            let line = try Line(proxy, Combination(client: speech, pod: .http2))
            let head = Talk(start: "POST / hello.example.com", length: .said(100_000))
            if let client = line.client1 { try client.send(head.http1 + "part") }
            if let client = line.client2 {
                try client.request(head.http2, end: false)
                try client.data(1, Array("part".utf8), end: false)
            }
            let pod = try proxy.accept2()
            try pod.until("the part") { $0.streams[1]?.body.count == 4 }
            try Talk.response(413, "too large").send(pod, 1)
            try pod.reset(1, 0)
            if let client = line.client1 {
                let message = try client.receiveMessage()
                #expect(message.status == 413 && message.body == "too large")
                client.endSending()
                #expect(try client.receiveToEnd() == "")
            } else if let client = line.client2 {
                try client.until("the end and the reset") { $0.streams[1]?.resetCode != nil }
                let message = client.streams[1] ?? HTTP2Message()
                #expect(message.status == 413 && message.text == "too large" && message.hasEnded)
                #expect(message.resetCode == 0)
                try client.settle()
            }
            try pod.settle()
            #expect(try proxy.total().pooledUpstreams == 1, "the pod's connection goes on")
        }
    }

    /// A pod that does not speak HTTP/2.
    @Test(arguments: Speech.allCases) func notHTTP2(_ speech: Speech) throws {
        let log = try withPod { proxy in
            let line = try Line(proxy, Combination(client: speech, pod: .http2))
            try line.ask(Talk())
            let pod = try proxy.accept()
            try pod.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            #expect(try line.hear().start == "502")
        }
        #expect(log.first?.contains(" 502 UPE ") == true, "\(log)")
    }
}
