import Foundation
import Testing

/// The three limits in time of a request (spec/dataplane 1.7; easy mistakes 10 to 12). One second is the unit; rows run
/// at the same time.
@Suite struct ContractTimeoutTests {
    static let text = "request timeout"

    private static func limits(total: Int = 60, start: Int = 0, idle: Int = 0, concurrency: Int = 0) -> [String: String]
    {
        [
            "REVISION_TIMEOUT_SECONDS": "\(total)", "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "\(start)",
            "REVISION_IDLE_TIMEOUT_SECONDS": "\(idle)", "CONTAINER_CONCURRENCY": "\(concurrency)",
        ]
    }

    /// When a limit of a second may bite: never before, and not much later, though test machines are busy.
    private static func demandOneSecond(_ seconds: Double, after: Double = 0, line: UInt = #line) throws {
        try demand(seconds >= after + 0.99 && seconds < after + 5, "after \(seconds) s", line: line)
    }

    /// The whole 504 to the letter.
    private static func demandTimeout(_ answer: Answer, line: UInt = #line) throws {
        try demandEqual(answer.status, 504, line: line)
        try demandEqual(answer.text, text, line: line)
        try demandEqual(answer["Content-Length"], "15", line: line)
        try demandEqual(answer["Content-Type"], "text/plain; charset=utf-8", line: line)
    }

    private static func ask(_ pod: ContractPod, _ path: String, _ fields: [String] = []) throws -> Answer {
        try pod.get(path, fields)
    }

    // MARK: The total

    static let total: [Rule<ContractPod>] = [
        Rule("total: no answer within T is 504, 15 bytes, no LF") { pod throws in
            let (seconds, answer) = try timed { try ask(pod, "/hang") }
            try demandTimeout(answer)
            try demandOneSecond(seconds)
        },
        Rule("total: the connection goes on after a 504") { pod throws in
            let client = try pod.connect()
            try client.request(ContractPod.host, "/hang")
            try demandTimeout(try client.readAnswer())
            try client.request(ContractPod.host, "/bytes/3")
            try demandEqual(try client.readAnswer().body.count, 3)
        },
        Rule("total: a response that flows ends cleanly at T, with its last chunk") { pod throws in
            let (seconds, answer) = try timed { try ask(pod, "/chunked/1000?chunk=10&ms=100") }
            try demandOneSecond(seconds)
            try demandEqual(answer.status, 200)
            let body = answer.text
            let own = body.hasSuffix(text) ? body.dropLast(text.count) : body[...]
            try demand(
                own.count >= 50 && own.count < 1000 && own.count % 10 == 0, "\(body.count) bytes: \(body.suffix(40))")
        },
        Rule("total: with a Content-Length the connection is broken at T") { pod throws in
            let (seconds, body) = try timed {
                let client = try pod.connect()
                try client.request(ContractPod.host, "/bytes/1000?chunk=10&ms=100")
                try demandEqual(try client.readHead().status, 200)
                var count = 0
                while let bytes = try? client.receive(), !bytes.isEmpty { count += bytes.count }
                return count
            }
            try demandOneSecond(seconds)
            try demand(body >= 50 && body < 1000, "\(body) bytes")
        },
        Rule("total: an answer in time is untouched") { pod throws in
            try demandEqual(try ask(pod, "/slow?ms=200").text, "slow\n")
        },
        Rule("total: a body that does not come is 504 too") { pod throws in
            let client = try pod.connect()
            try client.request(ContractPod.host, "/upload", method: "POST", fields: ["Content-Length: 100"])
            try client.send("a few")
            try demandTimeout(try client.readAnswer())
        },
        Rule("total: a WebSocket is cut at T though it talks") { pod throws in
            let (seconds, messages) = try timed { try talk(pod, every: 150) }
            try demandOneSecond(seconds)
            try demand(messages >= 3, "\(messages) messages")
        },
        Rule("total: a body that flows in is cut at T") { pod throws in
            let client = try pod.connect()
            try client.request(ContractPod.host, "/upload", method: "POST", fields: ["Transfer-Encoding: chunked"])
            let (seconds, answer) = try timed {
                while client.isSilent(milliseconds: 100) { try client.send("2\r\nab\r\n") }
                return try client.readAnswer()
            }
            try demandTimeout(answer)
            try demandOneSecond(seconds)
        },
    ]

    @Test func totalTimeout() throws {
        try ContractPod.running(Self.limits(total: 1)) { pod throws in
            _ = try pod.port()
            show(Self.total, on: pod, atOnce: true)
            #expect(try wait { try pod.counts()["in_flight"] == 1 }, "the container still works on something")
        }
    }

    // MARK: The start of the response

    static let start: [Rule<ContractPod>] = [
        Rule("start: no byte of the response within T is 504") { pod throws in
            let (seconds, answer) = try timed { try ask(pod, "/hang") }
            try demandTimeout(answer)
            try demandOneSecond(seconds)
        },
        Rule("start: a response that has begun may take longer") { pod throws in
            let (seconds, answer) = try timed { try ask(pod, "/chunked/20?chunk=10&ms=1300") }
            try demandEqual(answer.body.count, 20)
            try demand(seconds >= 1.2, "\(seconds)")
        },
        Rule("start: a WebSocket that is silent after 101 is cut") { pod throws in
            let (seconds, messages) = try timed { try talk(pod, every: nil) }
            try demandOneSecond(seconds)
            try demandEqual(messages, 0)
        },
        Rule("start: the first byte after 101 is the start of the response") { pod throws in
            let (seconds, messages) = try timed { try talk(pod, every: 250, upTo: 6) }
            try demand(messages == 6 && seconds >= 1.4, "\(messages) messages in \(seconds) s")
        },
    ]

    @Test func responseStartTimeout() throws {
        try ContractPod.running(Self.limits(start: 1)) { pod throws in
            _ = try pod.port()
            show(Self.start, on: pod, atOnce: true)
        }
    }

    /// 1.7: an interim response is a write; the status that follows is the container's (not Go's mistake of 1.7).
    @Test func interimResponseIsAStart() throws {
        let container = try PlayedContainer { request in
            try request.peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            poll(nil, 0, 1_300)
            try request.answer(404, "late")
        }
        try ContractPod.running(Self.limits(start: 1), .played(container)) { pod throws in
            let client = try pod.connect()
            try client.request(ContractPod.host)
            #expect(try client.readHead().status == 103)
            let answer = try client.readAnswer()
            #expect(answer.status == 404 && answer.text == "late")
        }
    }

    // MARK: Silence

    static let idle: [Rule<ContractPod>] = [
        Rule("idle: without any write it counts from the start: 504") { pod throws in
            let (seconds, answer) = try timed { try ask(pod, "/hang") }
            try demandTimeout(answer)
            try demandOneSecond(seconds)
        },
        Rule("idle: each write restarts it") { pod throws in
            try demandEqual(try ask(pod, "/chunked/90?chunk=10&ms=200").body.count, 90)
        },
        Rule("idle: silence after the first bytes ends the response cleanly") { pod throws in
            let (seconds, answer) = try timed { try ask(pod, "/chunked/20?chunk=10&ms=20000") }
            try demandOneSecond(seconds)
            try demandEqual(answer.status, 200)
            try demand(["xxxxxxxxxx".count, 25].contains(answer.body.count), answer.text)
        },
        Rule("idle: a silent WebSocket is cut") { pod throws in
            let (seconds, messages) = try timed { try talk(pod, every: nil) }
            try demandOneSecond(seconds)
            try demandEqual(messages, 0)
        },
        Rule("idle: a WebSocket that talks lives, and is cut when it falls silent") { pod throws in
            let (seconds, messages) = try timed { try talk(pod, every: 250, upTo: 6, thenWaits: true) }
            try demandEqual(messages, 6)
            try demandOneSecond(seconds, after: 1.2)
        },
    ]

    @Test func idleTimeout() throws {
        try ContractPod.running(Self.limits(idle: 1)) { pod throws in
            _ = try pod.port()
            show(Self.idle, on: pod, atOnce: true)
        }
    }

    /// A WebSocket to the container's echo: a message every so many milliseconds until it is cut or `limit` came back.
    /// Returns how many came back.
    private static func talk(
        _ pod: ContractPod, every milliseconds: Int32?, upTo limit: Int = .max, thenWaits: Bool = false
    ) throws -> Int {
        let client = try pod.connect()
        try client.openWebSocket()
        var count = 0
        while let milliseconds, count < limit {
            poll(nil, 0, milliseconds)
            guard (try? client.send([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])) != nil,
                (try? client.take(4)) == [0x81, 2, 0x68, 0x69]
            else { return count }
            count += 1
        }
        if milliseconds == nil || thenWaits {
            // The end may come as a close frame, an end of stream or a reset; after a close frame the stream ends.
            while let bytes = try? client.receive(), !bytes.isEmpty {}
        }
        return count
    }

    // MARK: The queue, zero, and HTTP/2

    /// 1.4, 1.7: the time in the queue counts.
    @Test func timersIncludeTheQueue() throws {
        let container = try PlayedContainer()
        try ContractPod.running(Self.limits(start: 1, concurrency: 1), .played(container)) { pod throws in
            let first = try pod.connect()
            try first.request(ContractPod.host, "/first")
            let held = try container.next()
            try held.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe")
            #expect(try first.readHead().status == 200)
            let (seconds, answer) = try timed { try pod.get("/second") }
            try Self.demandTimeout(answer)
            try Self.demandOneSecond(seconds)
            try held.peer.send("ld")
            #expect(try first.take(4) == Array("held".utf8))
            held.finish()
            // Its place is free again.
            let third = try pod.connect()
            try third.request(ContractPod.host, "/third")
            let next = try container.next()
            #expect(next.path == "/third", "a request that had been given up was sent")
            try next.answer()
        }
    }

    /// 1.1: REVISION_TIMEOUT_SECONDS 0 answers 504 at once.
    @Test func zeroIsAtOnce() throws {
        try ContractPod.running(Self.limits(total: 0)) { pod throws in
            let (seconds, answer) = try timed { try pod.get("/hang") }
            try Self.demandTimeout(answer)
            #expect(seconds < 1)
            #expect(try pod.probe().status == 200, "probes know no limit")
        }
    }

    static let streams: [Rule<(ContractPod, Wire)>] = [
        Rule("HTTP/2: 504 with the same text, and the stream ends") { pod, wire in
            for way in [Wire.Way.h2c, .tls2] {
                let reply = try wire.perform(Wire.Request("/stall"), way, pod)
                try demandEqual(reply.status, 504, "\(reply)")
                try demandEqual(reply.body, text)
                try demandEqual(reply.values("content-length"), ["15"])
                try demandEqual(reply.values("content-type"), ["text/plain; charset=utf-8"])
                try demandOneSecond(reply.seconds)
            }
        },
        Rule("HTTP/2: a response that flows ends with END_STREAM, not with a reset") { pod, wire in
            let reply = try wire.perform(Wire.Request("/flow/100?ms=50"), .h2c, pod)
            try demandEqual(reply.status, 200, "\(reply)")
            try demand(reply.ended == true && reply.reset == nil, "\(reply)")
            try demandOneSecond(reply.seconds)
        },
        Rule("HTTP/2: the container's stream is reset") { pod, wire in
            let before = try pod.counts()["cancelled"] ?? 0
            _ = try wire.perform(Wire.Request("/stall"), .h2c, pod)
            try demand(try wait { try pod.counts()["cancelled"] ?? 0 > before }, "it was not told")
        },
        Rule("HTTP/2: other streams of the connection go on") { pod, wire in
            var many = Wire.Request("/wait?ms=300")
            many.more = 5
            try demandEqual(
                try wire.perform(many, .h2c, pod).statuses?.compactMap(\.self), Array(repeating: 200, count: 6))
        },
    ]

    @Test func overHTTP2() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running(Self.limits(total: 1), .reporter, certificates: certificates) { pod throws in
            let wire = try Wire(pod.scratch)
            show(Self.streams, on: (pod, wire), atOnce: true)
        }
    }
}

extension Client {
    /// The opening handshake, the key of RFC 6455 section 1.3.
    func openWebSocket(_ path: String = "/ws", fields: [String] = []) throws {
        let own = [
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        try request(ContractPod.host, path, fields: own + fields)
        let answer = try readHead()
        guard answer.status == 101, answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" else {
            throw Failure("no WebSocket: \(answer)")
        }
    }
}
