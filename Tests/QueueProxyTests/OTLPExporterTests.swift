import EventLoop
import Glibc
import Primitives
import TLS
import Testing

@testable import QueueProxy

@Suite struct OTLPExporterTests {
    private static func limits(_ change: (inout OTLPExporter.Limits) -> Void = { _ in }) -> OTLPExporter.Limits {
        var limits = OTLPExporter.Limits()
        limits.firstPauseMilliseconds = 2
        limits.longestPauseMilliseconds = 8
        change(&limits)
        return limits
    }

    private static func endpoint(_ port: UInt16, host: String = "127.0.0.1", isTLS: Bool = false) -> OTLPEndpoint {
        OTLPEndpoint(transport: .http, isTLS: isTLS, host: host, port: port, path: "/v1/traces")
    }

    /// Messages go one after the other over one connection, with what OTLP wants in the head.
    @Test(arguments: ["127.0.0.1", "localhost"]) func delivers(host: String) throws {
        let loop = try Loop()
        let collector = try Collector(loop)
        let exporter = OTLPExporter("spans", to: Self.endpoint(collector.port, host: host), loop: loop) { _ in }
        for number in UInt8(1)...5 { exporter.send([number, 0, 255], items: Int(number)) }
        #expect(loop.until { exporter.delivered == 15 })
        #expect(collector.requests.map(\.body) == (1...5).map { [$0, 0, 255] } && collector.connections == 1)
        let lines = try #require(collector.requests.first).head.split(separator: "\r\n").map(String.init)
        #expect(lines[0] == "POST /v1/traces HTTP/1.1")
        #expect(lines.contains("Host: \(host):\(collector.port)"))
        #expect(lines.contains("Content-Type: application/x-protobuf"))
    }

    /// A body larger than any buffer of a socket arrives whole.
    @Test func largeMessages() throws {
        let loop = try Loop()
        let collector = try Collector(loop)
        let exporter = OTLPExporter("spans", to: Self.endpoint(collector.port), loop: loop) { _ in }
        let body = (0..<3 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        exporter.send(body, items: 1)
        #expect(loop.until { exporter.delivered == 1 })
        let isWhole = collector.requests.first?.body == body
        #expect(isWhole)
    }

    /// What may be better next time is sent again; the rest is lost at once, and said.
    @Test func retries() throws {
        let loop = try Loop()
        let collector = try Collector(
            loop,
            [
                .status(503), .status(429, "Retry-After: 0\r\n"), .hangUp, .raw("HTTP/9.9 what\r\n\r\n"), .status(502),
                .status(504), .status(200), .status(400), .status(500),
                .raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 202 Accepted\r\n\r\nrest"),
            ])
        var lines: [String] = []
        let exporter = OTLPExporter(
            "spans", to: Self.endpoint(collector.port), loop: loop, limits: Self.limits()
        ) { lines.append($0) }
        for _ in 0..<4 { exporter.send([1], items: 3) }
        #expect(loop.until { exporter.delivered + exporter.lost == 12 })
        #expect(exporter.delivered == 6 && exporter.lost == 6 && collector.requests.count == 10)
        #expect(lines == ["telemetry: 3 spans lost, the last because: status 400"])
    }

    /// A message is tried for so long, with pauses that grow.
    @Test func patienceEnds() throws {
        let loop = try Loop()
        let collector = try Collector(loop, Array(repeating: .status(503), count: 1000))
        let exporter = OTLPExporter(
            "spans", to: Self.endpoint(collector.port), loop: loop, limits: Self.limits { $0.messageMilliseconds = 60 }
        ) { _ in }
        exporter.send([1], items: 1)
        #expect(loop.until { exporter.lost == 1 })
        // 2, 4, 8, 8, ... ms, each up to a quarter longer.
        #expect((5...10).contains(collector.requests.count), "\(collector.requests.count)")
    }

    /// `Retry-After` is followed up to the longest pause, however large it is.
    @Test func retryAfter() throws {
        let loop = try Loop()
        let collector = try Collector(loop, [.status(429, "Retry-After: 400000000\r\n")])
        let exporter = OTLPExporter(
            "spans", to: Self.endpoint(collector.port), loop: loop,
            limits: Self.limits { $0.longestPauseMilliseconds = 40 }
        ) { _ in }
        let begun = MonotonicClock.now()
        exporter.send([1], items: 1)
        #expect(loop.until { exporter.delivered == 1 })
        #expect(MonotonicClock.now().milliseconds(since: begun) >= 40)
    }

    /// A kept connection that the collector has closed costs no pause and no message.
    @Test func staleConnections() throws {
        let loop = try Loop()
        let collector = try Collector(loop)
        let exporter = OTLPExporter(
            "spans", to: Self.endpoint(collector.port), loop: loop,
            limits: Self.limits { $0.firstPauseMilliseconds = 1_000_000 }
        ) { _ in }
        for round in 1...3 {
            exporter.send([1], items: 1)
            #expect(loop.until { exporter.delivered == round })
            collector.hangUp()
        }
        #expect(collector.connections == 3)
    }

    /// Silence is an end too, and so is a collector that is not there, or cannot be found.
    @Test func noAnswer() throws {
        let loop = try Loop()
        let collector = try Collector(loop, [.silence])
        var lines: [String] = []
        let limits = Self.limits {
            $0.attemptMilliseconds = 30
            $0.messageMilliseconds = 1
            $0.lineMilliseconds = 0
        }
        let silent = OTLPExporter("spans", to: Self.endpoint(collector.port), loop: loop, limits: limits) {
            lines.append($0)
        }
        silent.send([1], items: 1)
        #expect(loop.until { silent.lost == 1 })
        #expect(lines.last?.hasSuffix("no answer within 30 ms") == true)
        let closed = try #require(try Listener(.loopback(port: 0), sharesPort: false).address?.port)
        let absent = OTLPExporter("spans", to: Self.endpoint(closed), loop: loop, limits: limits) { lines.append($0) }
        absent.send([1], items: 1)
        #expect(loop.until { absent.lost == 1 })
        #expect(lines.last?.contains("Connection refused") == true, "\(lines)")
        let unknown = OTLPExporter(
            "spans", to: Self.endpoint(closed, host: "no.such.name.invalid"), loop: loop,
            limits: Self.limits { $0.messageMilliseconds = 1 }
        ) { lines.append($0) }
        unknown.send([1], items: 1)
        #expect(loop.until { unknown.lost == 1 })
    }

    /// The queue is bounded by messages and by bytes; the oldest goes. Cumulative metrics replace each other.
    @Test func boundedQueue() throws {
        let loop = try Loop()
        let collector = try Collector(loop, [.silence])
        var lines: [String] = []
        let exporter = OTLPExporter(
            "spans", to: Self.endpoint(collector.port), loop: loop,
            limits: Self.limits {
                $0.messages = 4
                $0.bytes = 100
                $0.attemptMilliseconds = 300
            }
        ) { lines.append($0) }
        for number in UInt8(0)..<10 { exporter.send([number], items: 1) }
        #expect(exporter.lost == 6)
        exporter.send([UInt8](repeating: 77, count: 99), items: 1)
        #expect(exporter.lost == 9)
        exporter.send([UInt8](repeating: 77, count: 101), items: 1)
        #expect(exporter.lost == 10)
        #expect(loop.until { exporter.delivered == 2 })
        #expect(collector.requests.map(\.body.first) == [0, 0, 77])
        #expect(lines.count == 1)

        let metrics = OTLPExporter("metrics", to: Self.endpoint(collector.port), loop: loop) { _ in }
        for number in UInt8(100)..<110 { metrics.send([number], items: 1, isSnapshot: true) }
        #expect(loop.until { metrics.delivered == 2 })
        #expect(collector.requests.suffix(2).map(\.body) == [[100], [109]] && metrics.lost == 0)
    }

    /// At the end everything is sent, without pauses; or given up when the time has passed.
    @Test func theEnd() throws {
        let loop = try Loop()
        let collector = try Collector(loop, [.status(503)])
        let limits = Self.limits { $0.firstPauseMilliseconds = 1_000_000 }
        let exporter = OTLPExporter("spans", to: Self.endpoint(collector.port), loop: loop, limits: limits) { _ in }
        for _ in 0..<3 { exporter.send([1], items: 1) }
        #expect(loop.until { collector.requests.count == 1 })
        var isOver = false
        exporter.finish(withinMilliseconds: 10_000) { isOver = true }
        #expect(loop.until { isOver } && exporter.delivered + exporter.lost == 3 && exporter.delivered >= 2)

        let silent = try Collector(loop, [.silence])
        let other = OTLPExporter("spans", to: Self.endpoint(silent.port), loop: loop) { _ in }
        for _ in 0..<3 { other.send([1], items: 1) }
        isOver = false
        other.finish(withinMilliseconds: 50) { isOver = true }
        #expect(loop.until { isOver } && other.lost == 3)
    }

    /// Over TLS the collector must show a certificate of an authority that is trusted, for its name.
    @Test func secureCollectors() throws {
        let now = Int64(time(nil))
        let authority = try LocalAuthority.create(commonName: "collectors", now: now)
        let stranger = try LocalAuthority.create(commonName: "strangers", now: now)
        func context(_ names: [String]) throws -> TLSServerContext {
            let pair = try authority.issue(names: names, now: now)
            let source = CertificateSource(
                certificateFile: "a.crt", certificate: pair.certificate, keyFile: "a.key", key: pair.key,
                isDefault: true)
            return try TLSServerContext(
                TLSServerSettings(), certificates: CertificateSet.load([source], now: now).set, tickets: nil)
        }
        func client(_ authority: LocalAuthority) throws -> TLSClientContext {
            var settings = TLSSettings()
            settings.protocols = [.http1]
            return try TLSClientContext(
                settings, trust: try TrustBundle(pem: authority.pem.certificate, file: "ca.crt"))
        }
        let rows: [(host: String, names: [String], signer: LocalAuthority, isGood: Bool)] = [
            ("localhost", ["localhost"], authority, true), ("127.0.0.1", ["127.0.0.1"], authority, true),
            ("localhost", ["other.example"], authority, false), ("localhost", ["localhost"], stranger, false),
        ]
        for (host, names, signer, isGood) in rows {
            let loop = try Loop()
            let collector = try Collector(loop, context: context(names))
            var lines: [String] = []
            let exporter = OTLPExporter(
                "spans", to: Self.endpoint(collector.port, host: host, isTLS: true), loop: loop,
                context: try client(signer), limits: Self.limits { $0.messageMilliseconds = isGood ? 60_000 : 1 }
            ) { lines.append($0) }
            let body = [UInt8](repeating: 7, count: 200_000)
            for _ in 0..<2 { exporter.send(body, items: 1) }
            #expect(loop.until { exporter.delivered + exporter.lost == 2 })
            #expect(exporter.delivered == (isGood ? 2 : 0), "\(host) \(names) \(lines)")
            let isWhole = collector.requests.map(\.body) == (isGood ? [body, body] : [])
            #expect(isWhole)
            if isGood { #expect(collector.connections == 1) } else { #expect(lines.first?.contains("TLS") == true) }
        }
    }
}
