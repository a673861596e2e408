import Balancing
import HTTP2Wire
import Testing

@testable import DataPlane

/// Streams that end early, by whoever: what was held for them is free at once, and their neighbours go on.
@Suite struct StreamCancelTests {
    /// A waiting request leaves the queue.
    @Test func whileWaiting() throws {
        try withProxy {
            $0.concurrency = 1
        } _: { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("GET", "/0"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try client.request(ProxyHarness.fields("GET", "/1"))
            try client.request(ProxyHarness.fields("GET", "/2"))
            try client.settle()
            #expect(proxy.gate.waiting == 2 && proxy.gate.inFlight == 1)
            try client.reset(3)
            try client.settle()
            #expect(proxy.gate.waiting == 1)
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            #expect(try pod.receiveHead().startLine == "GET /2 HTTP/1.1")
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            _ = try client.receiveMessage(5)
        }
    }

    /// A request whose connection is being made gives its slot back.
    @Test(arguments: Speech.allCases) func whileConnecting(_ speech: Speech) throws {
        try withProxy {
            $0.speak(speech)
            $0.limits.upstreamConnectMilliseconds = 200
        } _: { proxy in
            let fillers = try proxy.pods[0].fillBacklog()
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields())
            try client.settle()
            #expect(proxy.gate.inFlight == 1)
            try client.reset(1)
            try client.settle()
            #expect(proxy.gate.inFlight == 0)
            #expect(try proxy.total().exchanges == 0)
            for filler in fillers { filler.close() }
            try proxy.until("nothing left") { $0.upstreams == 0 }
        }
    }

    /// The pod learns of it: HTTP/1.1 by the end of the connection, HTTP/2 by RST_STREAM, and its connection stays.
    @Test(arguments: Speech.allCases, [false, true]) func whileActive(_ speech: Speech, afterHead: Bool) throws {
        let log = try withProxy {
            $0.speak(speech)
        } _: { proxy in
            let line = try Line(proxy, Combination(client: .http2, pod: speech))
            let client = try #require(line.client2)
            try line.ask(Talk())
            _ = try line.takeHead()
            if afterHead {
                try line.answerHead(Talk(start: "200", length: .said(10)))
                _ = try client.receiveHead(1)
            }
            try client.reset(1)
            if let pod = line.pod1 { try pod.expectClosed() }
            if let pod = line.pod2 {
                #expect(try pod.receiveReset(1) == 8)
                try client.settle()
            }
            #expect(proxy.gate.inFlight == 0)
            #expect(try proxy.total().exchanges == 0)
            // The client's connection goes on; so does that of a pod of HTTP/2.
            try client.request(ProxyHarness.fields("GET", "/next"))
            if let pod = line.pod2 {
                try Talk.response(200, "next").send(pod, try pod.nextStream())
            } else {
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                try pod.send(Talk.response(200, "next").http1)
            }
            #expect(try client.receiveMessage(3).text == "next")
        }
        #expect(log.contains { $0.contains(" DC ") }, "\(log)")
    }

    /// A client of HTTP/1.1 that leaves: the pod's stream is reset.
    @Test func clientOfHTTP1Leaves() throws {
        try withProxy {
            $0.upstreamProtocol = .h2c
        } _: { proxy in
            for begins in [false, true] {
                let client = try proxy.client()
                try client.send(ProxyHarness.get())
                let pod = try proxy.accept2()
                let stream = try pod.nextStream()
                if begins {
                    try pod.headers(stream, [(":status", "200")], end: false)
                    _ = try client.receiveHead()
                }
                client.reset()
                #expect(try pod.receiveReset(stream) == 8)
                try proxy.until("free") { $0.exchanges == 0 }
                try pod.peer.send(Make.goAway(stream))
                try pod.expectEnd()
            }
        }
    }

    /// A connection with many streams is lost: all of them end, on pods of either version.
    @Test(arguments: Speech.allCases) func connectionWithManyStreams(_ speech: Speech) throws {
        try withProxy {
            $0.speak(speech)
            $0.concurrency = 20
        } _: { proxy in
            let client = try proxy.client2()
            for _ in 0..<50 { try client.request(ProxyHarness.fields("POST"), end: false) }
            try client.settle()
            #expect(proxy.gate.inFlight == 20 && proxy.gate.waiting == 30)
            client.peer.reset()
            try proxy.until("all ended") { $0.exchanges == 0 && $0.downstreams == 0 }
            #expect(proxy.gate.inFlight == 0 && proxy.gate.waiting == 0)
            if speech == .http2 {
                // Streams that waited for the connection were never opened.
                let pod = try proxy.accept2()
                try pod.settle()
                #expect(pod.opened.allSatisfy { pod.streams[$0]?.resetCode == 8 })
            }
        }
    }

    /// Cancelled before the pod's connection has its stream: the pod never hears of it, the others do.
    @Test func cancelledAmongWaiters() throws {
        try withProxy {
            $0.upstreamProtocol = .h2c
        } _: { proxy in
            let client = try proxy.client2()
            for index in 0..<3 { try client.request(ProxyHarness.fields("GET", "/\(index)")) }
            try client.reset(3)
            let pod = try proxy.accept2()
            var paths: [String] = []
            while paths.count < 2 {
                let stream = try pod.nextStream()
                try pod.settle()
                guard pod.streams[stream]?.resetCode == nil else { continue }
                paths.append(pod.streams[stream]?.value(":path") ?? "")
                try Talk.response().send(pod, stream)
            }
            #expect(paths == ["/0", "/2"])
            #expect(try client.receiveMessage(1).status == 200)
            #expect(try client.receiveMessage(5).status == 200)
        }
    }

    // MARK: Time limits

    /// Before the head: 504, and the pod's side is cut.
    @Test(arguments: Combination.all) func timeLimitBeforeTheHead(_ combination: Combination) throws {
        let log = try withProxy {
            $0.speak(combination.pod)
            $0.timeouts.total = 100_000_000
        } _: { proxy in
            let line = try Line(proxy, combination)
            try line.ask(Talk())
            _ = try line.takeHead()
            let heard = try line.hear()
            #expect(heard.start == "504" && heard.body == "request timeout")
            if let pod = line.pod1 { try pod.expectClosed() }
            if let pod = line.pod2 { #expect(try pod.receiveReset(line.podStream) == 8) }
        }
        #expect(log.first?.contains(" 504 UT ") == true, "\(log)")
    }

    /// Within a response: cut if its length was said, else ended cleanly as Knative does.
    @Test(arguments: Combination.all, [Length.said(10), .unknown])
    func timeLimitWithinAResponse(_ combination: Combination, length: Length) throws {
        try withProxy {
            $0.speak(combination.pod)
            $0.timeouts.total = 150_000_000
        } _: { proxy in
            let line = try Line(proxy, combination)
            try line.ask(Talk())
            _ = try line.takeHead()
            try line.answerHead(Talk(start: "200", length: length))
            if let pod = line.pod1 { try pod.send(length == .unknown ? "3\r\nabc\r\n" : "abc") }
            try line.pod2?.data(line.podStream, Array("abc".utf8), end: false)
            if let client = line.client1, length == .unknown {
                let message = try client.receiveMessage()
                #expect(message.body == "abc" && message.isChunked)
            } else if let client = line.client1 {
                _ = try client.receiveHead()
                try client.expect("abc")
                #expect(try client.waitForBreak(), "cut")
            } else if let client = line.client2 {
                let message = try client.receiveMessage(1)
                #expect(message.text == "abc")
                #expect(length == .unknown ? message.hasEnded : message.resetCode == 2, "\(message)")
            }
            if let pod = line.pod2 { #expect(try pod.receiveReset(line.podStream) == 8) }
        }
    }

    // MARK: Early answers

    /// A pod of HTTP/1.1 that answers before the request's end, to a client of HTTP/2: the rest is dropped.
    @Test func earlyAnswerOfHTTP1() throws {
        try withProxy { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("POST"), end: false)
            try client.data(1, Array(repeating: 1, count: 1000), end: false)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            #expect(try client.receiveReset(1) == 0)
            let message = client.streams[1] ?? HTTP2Message()
            #expect(message.status == 413 && message.text == "no" && message.hasEnded)
            // What still comes does no harm, and its window is given back.
            try client.data(1, Array(repeating: 1, count: 5000), end: true)
            try client.settle()
            #expect(try proxy.total().lentBytes == 0)
            #expect(try proxy.total().pooledUpstreams == 0, "the pod's connection has half a request on it")
        }
    }

    /// Requests that wait hold at most a window each, and nothing once they are gone.
    @Test func waitingBodies() throws {
        try withProxy {
            $0.concurrency = 1
        } _: { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try client.settle()  // the connection's window is here
            let before = try proxy.total().lentBytes
            for _ in 0..<4 {
                let stream = try client.request(ProxyHarness.fields("POST"), end: false)
                #expect(try client.bodyWhatFits(stream, Array(repeating: 1, count: 100_000)) == 65_535)
            }
            try client.settle()
            let held = try proxy.total().lentBytes - before
            #expect(held >= 4 * 65_535 && held <= 4 * 150_000, "\(held)")
            for stream in [3, 5, 7, 9] as [UInt32] { try client.reset(stream) }
            try client.settle()
            #expect(try proxy.total().lentBytes == before)
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            _ = try client.receiveMessage(1)
        }
    }
}
