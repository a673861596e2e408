import EventLoop
import Fetching
import Glibc
import Knative
import Primitives
import Scaling
import Telemetry
import Testing

@testable import Autoscaler

/// A server on the loop of a test: says what it is told to, whatever it is asked.
private final class Script {
    private let loop: Loop
    private let listener: Listener
    private var sockets: [Int32: Int] = [:]
    /// What was asked, one entry a connection.
    private(set) var asked: [String] = []
    private(set) var connections = 0
    /// What is said to the n-th request of a connection; nil: the connection is closed instead.
    var answer: (_ connection: Int, _ request: Int) -> String? = { _, _ in nil }
    let port: UInt16

    init(_ loop: Loop, ip: UInt32 = 0x7F00_0001) throws {
        self.loop = loop
        listener = try Listener(SocketAddress(ipv4: ip, port: 0), sharesPort: false)
        port = listener.address?.port ?? 0
        _ = try loop.watch(listener.fd, .readable) { [unowned self] _ in accept() }
    }

    private func accept() {
        let fd = Glibc.accept(listener.fd, nil, nil)
        guard fd >= 0 else { return }
        let number = connections
        connections += 1
        asked.append("")
        var requests = 0
        var token = Loop.WatchToken.none
        token =
            (try? loop.watch(fd, .readable) { [unowned self] _ in
                var bytes = [UInt8](repeating: 0, count: 4_096)
                let count = read(fd, &bytes, bytes.count)
                guard count > 0, let text = answer(number, requests) else {
                    loop.unwatch(token)
                    close(fd)
                    return
                }
                requests += 1
                asked[number] += String(decoding: bytes[..<count], as: UTF8.self)
                _ = text.withCString { write(fd, $0, text.utf8.count) }
            }) ?? .none
    }
}

/// The client of pods and public services, against servers that do well and badly.
@Suite struct FetchTests {
    private static let type = "Content-Type: application/protobuf\r\n"
    // pod_name "p", average concurrency 2, request count 3.
    private static let body = "\u{0A}\u{01}p\u{11}\0\0\0\0\0\0\0\u{40}\u{21}\0\0\0\0\0\0\u{08}\u{40}"

    private func wait(_ loop: Loop, until isDone: () -> Bool) {
        let deadline = MonotonicClock.now().adding(milliseconds: 20_000)
        while !isDone(), MonotonicClock.now() < deadline { loop.runOnce(atMostMilliseconds: 50) }
    }

    private func answer(_ body: String, type: String = FetchTests.type, status: String = "200 OK") -> String {
        "HTTP/1.1 \(status)\r\n\(type)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    /// Reads once from a server that says `text`.
    private func read(_ text: String?) throws -> Result<RequestStat, ScrapeFailure>? {
        let loop = try Loop()
        let script = try Script(loop)
        script.answer = { _, _ in text }
        let reader = QueueProxyReader(loop: loop, port: script.port)
        var result: Result<RequestStat, ScrapeFailure>?
        reader.read(.pod(0x7F00_0001)) { result = $0.map(\.stat) }
        wait(loop) { result != nil }
        reader.close()
        return result
    }

    @Test func aStatIsRead() throws {
        #expect(
            try read(answer(Self.body)) == .success(RequestStat(averageConcurrency: 2, requestCount: 3)))
        // Any 2xx; 1xx before it; chunked; until the end of the connection.
        #expect(try read(answer(Self.body, status: "204 No Content")) == .success(RequestStat()))
        #expect(try read("HTTP/1.1 103 Early\r\n\r\n" + answer("")) == .success(RequestStat()))
        #expect(
            try read("HTTP/1.1 200 OK\r\n\(Self.type)Transfer-Encoding: chunked\r\n\r\n3\r\n\u{0A}\u{01}p\r\n0\r\n\r\n")
                == .success(RequestStat()))
    }

    @Test func whatIsNoStatIsRefused() throws {
        #expect(try read(answer("", status: "503 Busy")) == .failure(.status(503)))
        #expect(
            try read(answer("", type: "Content-Type: application/protobuf; charset=utf-8\r\n"))
                == .failure(.contentType("application/protobuf; charset=utf-8")))
        #expect(try read(answer("", type: "")) == .failure(.contentType("")))
        for bad in [
            answer("hello"), answer(String(repeating: "x", count: 337)), "nonsense\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n", String(repeating: "HTTP/1.1 100 Go\r\n\r\n", count: 6),
            "HTTP/1.1 200 OK\r\n\(Self.type)\(String(repeating: "A: b\r\n", count: 2_000))\r\n",
        ] {
            guard case .failure(.malformed) = try read(bad) else {
                Issue.record("\(bad.prefix(60)) was taken")
                continue
            }
        }
        guard case .failure(.unreachable) = try read(nil) else {
            Issue.record("a connection that closes is no answer")
            return
        }
    }

    @Test func nobodyListens() throws {
        let loop = try Loop()
        let port = try Script(loop).port  // gone with its value
        let reader = QueueProxyReader(loop: loop, port: port)
        var result: Result<RequestStat, ScrapeFailure>?
        reader.read(.pod(0x7F00_0002)) { result = $0.map(\.stat) }
        wait(loop) { result != nil }
        guard case .failure(.unreachable) = result else {
            Issue.record("\(String(describing: result))")
            return
        }
    }

    @Test func connectionsAreKeptAndAStaleOneIsReplaced() throws {
        let loop = try Loop()
        let script = try Script(loop)
        // The first connection is closed when its third request comes.
        script.answer = { [text = answer(Self.body)] connection, request in
            connection == 0 && request == 2 ? nil : text
        }
        let reader = QueueProxyReader(loop: loop, port: script.port)
        for _ in 0..<5 {
            var result: Result<RequestStat, ScrapeFailure>?
            reader.read(.pod(0x7F00_0001)) { result = $0.map(\.stat) }
            wait(loop) { result != nil }
            #expect(result == .success(RequestStat(averageConcurrency: 2, requestCount: 3)))
        }
        #expect(script.connections == 2)
        #expect(
            script.asked[0].hasPrefix("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:\(script.port)\r\n")
                && script.asked[0].contains("\r\nAccept: application/protobuf\r\n"), "\(script.asked[0])")
        reader.close()
    }

    /// Through a mesh the service is named, and each question has a connection of its own, or the mesh would not choose
    /// a pod anew. A pod behind a mesh is named by its service, and its connection is kept.
    @Test func questionsThroughAMesh() throws {
        let loop = try Loop()
        let script = try Script(loop)
        script.answer = { [text = answer(Self.body)] _, _ in text }
        let reader = QueueProxyReader(loop: loop, port: script.port)
        let service = ObjectName(namespace: "ns", name: "rev-private")
        func ask(_ question: ScrapeQuestion) -> ScrapeAnswer? {
            var result: Result<ScrapeAnswer, ScrapeFailure>?
            reader.read(question) { result = $0 }
            wait(loop) { result != nil }
            return try? result?.get()
        }
        let expected = ScrapeAnswer(podName: "p", stat: RequestStat(averageConcurrency: 2, requestCount: 3))
        for number in 1...3 {
            #expect(ask(.service(service, clusterIP: 0x7F00_0001)) == expected)
            #expect(script.connections == number)
        }
        for asked in script.asked {
            #expect(asked.hasPrefix("GET /metrics HTTP/1.1\r\nHost: rev-private.ns:\(script.port)\r\n"), "\(asked)")
            #expect(asked.contains("\r\nConnection: close\r\n") && !asked.contains("Knative-Direct-Lb"))
        }
        for _ in 1...3 { #expect(ask(.podOfMesh(0x7F00_0001, service: service)) == expected) }
        #expect(script.connections == 4)
        let asked = try #require(script.asked.last)
        let head = "GET /metrics HTTP/1.1\r\nHost: rev-private.ns\r\nKnative-Direct-Lb: true\r\n"
        #expect(asked.hasPrefix(head), "\(asked)")
        reader.close()
    }

    @Test func silenceTimesOutAndTheRestWaitsItsTurn() throws {
        let loop = try Loop()
        let script = try Script(loop)
        script.answer = { _, _ in "" }
        var limits = FetchClient.Limits()
        limits.timeoutMilliseconds = 100
        limits.inFlight = 2
        limits.waiting = 3
        let client = FetchClient(loop: loop, limits: limits)
        var results: [FetchFailure] = []
        for _ in 0..<6 {
            client.send(Array("GET / HTTP/1.1\r\n\r\n".utf8), at: .loopback(port: script.port), keeps: true) { result in
                if case .failure(let failure) = result { results.append(failure) }
            }
        }
        wait(loop) { results.count == 6 }
        #expect(results.first == .tooBusy, "two are asked, three wait, one is refused at once")
        #expect(results.dropFirst().allSatisfy { $0 == .timedOut } && results.count == 6, "\(results)")
        #expect(script.connections <= 2 && client.connectionCount == 0, "who waited too long is not asked any more")
    }

    // MARK: The probe of the public service

    private func probe(_ answers: [String?]) throws -> Bool? {
        let loop = try Loop()
        let scripts = try answers.map { text -> Script in
            let script = try Script(loop)
            script.answer = { _, _ in text }
            return script
        }
        let probe = PublicServiceProbe(loop: loop)
        var result: Bool?
        let addresses = scripts.map { SocketAddress.loopback(port: $0.port) }
        probe.ask(ObjectName(namespace: "ns", name: "rev"), at: addresses) { result = $0 }
        wait(loop) { result != nil }
        for script in scripts {
            let asked = script.asked.first ?? ""
            #expect(
                script.connections == 1 && asked.isEmpty
                    || asked.hasPrefix("GET /healthz HTTP/1.1\r\nHost: rev.ns.svc.cluster.local\r\n")
                        && asked.contains("\r\nUser-Agent: Knative-Autoscaling-Probe\r\n")
                        && asked.contains("\r\nK-Network-Probe: activator\r\n"),
                "\(asked)")
        }
        return result
    }

    @Test func anActivatorMustAnswerAndNobodyElse() throws {
        let activator = answer("activator", type: "")
        let queue = answer("unexpected probe header value: activator", type: "", status: "400 Bad Request")
        #expect(try probe([activator]) == true)
        #expect(try probe([activator, activator]) == true)
        #expect(try probe([activator, nil]) == true, "who does not answer gets no requests either")
        #expect(try probe([activator, queue]) == false)
        #expect(try probe([queue]) == false)
        #expect(try probe([nil]) == false)
        #expect(try probe([]) == false)
        #expect(try probe([answer("activator\n", type: "")]) == false)
        #expect(try probe([answer("activator", type: "", status: "201 Created")]) == false)
    }
}
