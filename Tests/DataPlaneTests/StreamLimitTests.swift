import EventLoop
import HTTP2Wire
import Testing

@testable import DataPlane

/// Limits of connections and streams, drains, errors of our own, and memory under readers that do not read.
@Suite struct StreamLimitTests {
    // MARK: Errors of our own

    static let grpc: [(String, String)] = [("content-type", "application/grpc+proto"), ("te", "trailers")]

    /// gRPC is told of our errors in its own words, in a head that ends the stream.
    @Test func errorsOfGRPC() throws {
        try withProxy {
            $0.concurrency = 1
            $0.queueLimit = 0
        } _: { proxy in
            let client = try proxy.client2()
            var elsewhere = ProxyHarness.fields("POST", "/a.B/C", Self.grpc)
            elsewhere[2] = (":authority", "nowhere.example.com")
            try client.request(elsewhere, end: false)
            let lost = try client.receiveMessage(1)
            #expect(
                lost.lines(without: ["date"]) == [
                    ":status: 200", "content-type: application/grpc", "grpc-status: 12", "grpc-message: not found",
                ])
            #expect(lost.hasEnded && lost.heads.count == 1 && lost.body.isEmpty)
            try client.request(ProxyHarness.fields("POST", "/a.B/C", Self.grpc))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try client.request(ProxyHarness.fields("POST", "/a.B/C", Self.grpc))
            let full = try client.receiveMessage(5)
            #expect(full.value("grpc-status") == "14" && full.value(":status") == "200" && full.hasEnded)
            #expect(full.value("grpc-message") == "pending request queue full")
            pod.close()
            let broken = try client.receiveMessage(3)
            #expect(broken.value("grpc-status") == "14" && broken.value(":status") == "200")
        }
    }

    /// A gRPC response that breaks off ends with a status in trailers.
    @Test func brokenResponseOfGRPC() throws {
        try withProxy {
            $0.upstreamProtocol = .h2c
        } _: { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("POST", "/a.B/C", Self.grpc), end: false)
            let pod = try proxy.accept2()
            let stream = try pod.nextStream()
            try pod.headers(stream, [(":status", "200"), ("content-type", "application/grpc")], end: false)
            try pod.data(stream, [0, 0, 0, 0, 0], end: false)
            try client.receiveBody(1, count: 5)
            try pod.reset(stream, 2)
            let message = try client.receiveMessage(1)
            #expect(message.trailers?.map(Talk.line).first == "grpc-status: 14", "\(message)")
        }
    }

    /// Trailers-only answers and a hundred messages to and fro on one stream.
    @Test func conversation() throws {
        try withProxy {
            $0.upstreamProtocol = .asInbound
        } _: { proxy in
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("POST", "/a.B/C", Self.grpc), end: false)
            let pod = try proxy.accept2()
            let stream = try pod.nextStream()
            #expect(pod.streams[stream]?.values("te") == ["trailers"])
            try pod.headers(stream, [(":status", "200"), ("content-type", "application/grpc")], end: false)
            for turn in 1...100 {
                try client.data(1, [0, 0, 0, 0, UInt8(turn)], end: false)
                try pod.receiveBody(stream, count: 5 * turn)
                try pod.data(stream, [0, 0, 0, 0, UInt8(turn)], end: false)
                try client.receiveBody(1, count: 5 * turn)
            }
            try client.data(1, [], end: true)
            #expect(try pod.receiveMessage(stream).body == (1...100).flatMap { [0, 0, 0, 0, UInt8($0)] })
            try pod.headers(stream, [("grpc-status", "0"), ("grpc-message", "fine")], end: true)
            let message = try client.receiveMessage(1)
            #expect(message.trailers?.map(Talk.line) == ["grpc-status: 0", "grpc-message: fine"])
            // An answer that is all trailers: a head that ends the stream.
            try client.request(ProxyHarness.fields("POST", "/a.B/D", Self.grpc))
            try pod.headers(
                try pod.nextStream(), [(":status", "200"), ("grpc-status", "5"), ("grpc-message", "none")], end: true)
            let short = try client.receiveMessage(3)
            #expect(short.heads.count == 1 && short.value("grpc-status") == "5" && short.trailers == nil)
        }
    }

    // MARK: Drain

    /// Two GOAWAYs; streams that are open end in peace, then the connection. A request that crosses the first is
    /// served; one after the second is not taken.
    @Test(arguments: Speech.allCases) func drain(_ speech: Speech) throws {
        try withProxy {
            $0.speak(speech)
        } _: { proxy in
            let line = try Line(proxy, Combination(client: .http2, pod: speech))
            let client = try #require(line.client2)
            try client.settle()
            try line.ask(Talk(start: "GET /slow \(ProxyHarness.host)"))
            _ = try line.takeHead()
            proxy.group.post(.drain)
            proxy.group.post(.stopAccepting)
            try client.until("both GOAWAYs") { $0.goAways.count == 2 }
            #expect(client.goAways.map(\.last) == [0x7FFF_FFFF, 1] && client.goAways.allSatisfy { $0.code == 0 })
            try client.request(ProxyHarness.fields("GET", "/late"))
            try client.settle()
            #expect(client.streams[3] == nil)
            try line.answer(.response(200, "slow"))
            #expect(try client.receiveMessage(1).text == "slow")
            try client.expectEnd()
            _ = try proxy.event { event in
                if case .drained = event { return true }
                return nil
            }
        }
    }

    /// A connection that comes during the drain, before accepting ends: served, and told to go.
    @Test func connectionDuringTheDrain() throws {
        try withProxy { proxy in
            proxy.group.post(.drain)
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            #expect(try client.receiveMessage(1).text == "ok")
            try client.until("GOAWAY") { $0.goAways.count == 2 }
            try client.expectEnd()
        }
    }

    // MARK: Limits

    /// Heads beyond a limit get 431, and the connection goes on.
    @Test func headsTooLarge() throws {
        try withProxy { proxy in
            let client = try proxy.client2()
            let many = (0..<101).map { ("x-\($0)", "1") }
            try client.request(ProxyHarness.fields("GET", "/", many))
            let long = String(repeating: "x", count: 30_000)
            try client.request(ProxyHarness.fields("GET", "/", [("a", long), ("b", long), ("c", long)]))
            try client.request(ProxyHarness.fields("GET", "/" + String(repeating: "x", count: 10_000)))
            #expect(try client.receiveMessage(1).status == 431)
            #expect(try client.receiveMessage(3).status == 431)
            #expect(try client.receiveMessage(5).status == 414)
            try client.settle()
            try client.request(ProxyHarness.fields())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            #expect(try client.receiveMessage(7).status == 200)
        }
    }

    /// A pod's head that is as large as may be, and one that is larger.
    @Test(arguments: Combination.all) func headsOfPods(_ combination: Combination) throws {
        try withProxy {
            $0.speak(combination.pod)
        } _: { proxy in
            let long = String(repeating: "x", count: 31_000)
            for (values, status) in [([long, long], "200"), ([long, long, long], "502")] {
                let line = try Line(proxy, combination)
                try line.ask(Talk())
                _ = try line.takeHead()
                let fields = values.enumerated().map { "f-\($0.offset): \($0.element)" }
                try? line.answer(Talk.response(200, "ok", fields: fields))
                let heard = try line.hear()
                #expect(heard.start == status)
                if status == "200" { #expect(heard.fields == fields) }
                proxy.pods[0].connections.forEach { $0.close() }
                try proxy.until("no pod") { $0.pooledUpstreams == 0 }
            }
        }
    }

    /// Streams beyond the limit that the client has been told are refused or end the connection, and nothing else.
    @Test func streamLimit() throws {
        try withProxy {
            $0.limits.http2.concurrentStreams = 4
        } _: { proxy in
            let client = try proxy.client2()
            client.acknowledgesSettings = false
            for _ in 0..<6 { try client.request(ProxyHarness.fields("POST"), end: false) }
            #expect(try client.receiveReset(9) == 7)
            #expect(try client.receiveReset(11) == 7)
            for stream in [1, 3, 5, 7] as [UInt32] { try client.reset(stream) }
            try client.settle()
        }
    }

    struct Flood: Sendable, CustomTestStringConvertible {
        let name: String
        let bytes: [UInt8]
        let count: Int
        var testDescription: String { name }
    }
    static let floods = [
        Flood(name: "PING", bytes: Make.ping(), count: 12_000),
        Flood(name: "SETTINGS", bytes: Make.settings(), count: 12_000),
        Flood(name: "empty DATA", bytes: Make.data(1, 0), count: 1_000),
        Flood(name: "unknown frames", bytes: Make.frame(0x42, 0, 0, [1]), count: 12_000),
    ]

    /// A flood ends its own connection with ENHANCE_YOUR_CALM; another one goes on.
    @Test(arguments: floods) func flood(_ flood: Flood) throws {
        try withProxy { proxy in
            let neighbour = try proxy.client2()
            try neighbour.settle()
            let client = try proxy.client2()
            try client.request(ProxyHarness.fields("POST"), end: false)
            try client.settle()
            let bytes = (0..<100).flatMap { _ in flood.bytes }
            for _ in 0..<(flood.count / 100) {
                client.peer.sendWhatFits(bytes)
                do { try client.poll() } catch { break }
                if client.peer.hasEnded { break }
            }
            try client.until("GOAWAY") { !$0.goAways.isEmpty }
            #expect(client.goAways.last?.code == 11)
            client.close()
            try neighbour.request(ProxyHarness.fields("GET", "/neighbour"))
            while true {
                let pod = try proxy.accept()
                guard try pod.receiveHead().startLine.contains("/neighbour") else { continue }
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                break
            }
            #expect(try neighbour.receiveMessage(1).status == 200)
        }
    }

    /// Requests that are opened and reset at once: their connection ends, and no slot or place stays taken.
    @Test(arguments: Speech.allCases) func rapidReset(_ speech: Speech) throws {
        try withProxy {
            $0.speak(speech)
            $0.concurrency = 5
        } _: { proxy in
            let client = try proxy.client2()
            try client.settle()
            do {
                for _ in 0..<2_000 {
                    let stream = try client.request(ProxyHarness.fields())
                    try client.reset(stream)
                    try client.poll()
                    if !client.goAways.isEmpty { break }
                }
            } catch is PeerFailure {}
            try client.until("GOAWAY") { !$0.goAways.isEmpty }
            #expect(client.goAways.last?.code == 11)
            client.close()
            try proxy.until("free") { $0.exchanges == 0 && $0.downstreams == 0 }
            #expect(proxy.gate.inFlight == 0 && proxy.gate.waiting == 0)
        }
    }

    // MARK: Readers that do not read

    static let large = 5_000_000

    /// A response of 5 MB to a client that reads nothing for a while: bounded memory, then all of it.
    @Test(arguments: Combination.all) func slowClient(_ combination: Combination) throws {
        try withProxy {
            $0.speak(combination.pod)
        } _: { proxy in
            let line = try Line(proxy, combination, receiveBuffer: 16_384)
            line.client2?.givesWindow = false
            try line.ask(Talk())
            _ = try line.takeHead()
            let before = try proxy.total().lentBytes
            let body = (0..<Self.large).map { UInt8(truncatingIfNeeded: $0 / 251) }
            let sender = try Background {
                try line.answerHead(Talk(start: "200", length: .said(Self.large)))
                try line.pod1?.send(body)
                try line.pod2?.body(line.podStream, body, end: true)
            }
            try proxy.until("stalled") { $0.lentBytes > before }
            for _ in 0..<50 { #expect(try proxy.total().lentBytes - before < 400_000) }
            if let client = line.client1 {
                _ = try client.receiveHead()
                for start in stride(from: 0, to: Self.large, by: 100_000) {
                    let piece = try client.receive(100_000)
                    guard piece == Array(body[start..<start + 100_000]) else {
                        Issue.record("bytes differ after \(start)")
                        break
                    }
                    if start % 1_000_000 == 0 { #expect(try proxy.total().lentBytes - before < 400_000) }
                }
            } else if let client = line.client2 {
                client.givesWindow = true
                try client.give(1, 65_535)
                #expect(try client.receiveMessage(1).body == body)
            }
            try sender.join()
        }
    }

    /// A request of 5 MB to a pod that reads nothing for a while.
    @Test(arguments: Combination.all) func slowPod(_ combination: Combination) throws {
        try withProxy {
            $0.speak(combination.pod)
            $0.podReceiveBuffer = 16_384
        } _: { proxy in
            let line = try Line(proxy, combination)
            let body = (0..<Self.large).map { UInt8(truncatingIfNeeded: $0 / 251) }
            let head = Talk(start: "POST / hello.example.com", length: .said(Self.large))
            let sender = try Background {
                try line.client1?.send(head.http1Head)
                try line.client1?.send(body)
                if let client = line.client2 {
                    let stream = try client.request(head.http2, end: false)
                    try client.body(stream, body, end: true)
                }
            }
            try line.connect()
            line.pod2?.givesWindow = false
            _ = try line.takeHead()
            for _ in 0..<50 { #expect(try proxy.total().lentBytes < 400_000) }
            if let pod = line.pod1 {
                for start in stride(from: 0, to: Self.large, by: 100_000) {
                    guard try pod.receive(100_000) == Array(body[start..<start + 100_000]) else {
                        Issue.record("bytes differ after \(start)")
                        break
                    }
                    if start % 1_000_000 == 0 { #expect(try proxy.total().lentBytes < 400_000) }
                }
            } else if let pod = line.pod2 {
                try pod.receiveBody(line.podStream, count: 60_000)
                try pod.settle()
                #expect(try proxy.total().lentBytes < 400_000)
                pod.givesWindow = true
                try pod.give(line.podStream, 65_535)
                #expect(try pod.receiveMessage(line.podStream).body == body)
            }
            try sender.join()
            try line.answer(.response(200, "ok"))
            if let client = line.client2 {
                #expect(try client.receiveMessage(1).text == "ok")
            } else {
                #expect(try line.hear().body == "ok")
            }
        }
    }
}
