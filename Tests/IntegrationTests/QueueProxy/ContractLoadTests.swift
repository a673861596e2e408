import Foundation
import Testing

/// containerConcurrency under load (spec/dataplane 1.6, 2.3): never exceeded, no slot lost, every request counted once.
/// Benchmarks/queue_load.py does the same with a million requests.
@Suite struct ContractLoadTests {
    /// What h2load says of a run.
    struct Run {
        let done: Int
        let succeeded: Int
        let ok: Int
        let refused: Int
        let text: String

        /// Requests of HTTP/1.1, each client one after the other; h2load counts exactly.
        init(_ pod: ContractPod, requests: Int, clients: Int, path: String = "/bytes/64", fields: [String] = []) throws
        {
            let place = "http://127.0.0.1:\(try pod.port())\(path)"
            let heads = fields.flatMap { ["-H", $0] }
            let counts = ["-n", "\(requests)", "-c", "\(clients)", "-t", "1", "-T", "30"]
            let ended = try Foreign.run("h2load", ["--h1"] + counts + heads + [place])
            let said = ended.out + ended.log
            func number(_ pattern: Regex<(Substring, Substring)>) -> Int {
                said.firstMatch(of: pattern).flatMap { Int($0.1) } ?? -1
            }
            text = said
            done = number(/(\d+) done/)
            succeeded = number(/(\d+) succeeded/)
            ok = number(/status codes: (\d+) 2xx/)
            refused = number(/(\d+) 5xx/)
        }
    }

    struct Row: Sendable, CustomStringConvertible {
        let concurrency: Int
        let requests: Int
        /// How long the container takes for each, so that some meet in it.
        let milliseconds: Int
        var description: String { "containerConcurrency \(concurrency), \(requests) requests" }
    }

    /// Four times as many clients as the limit: all wait their turn, none is refused.
    @Test(arguments: [
        Row(concurrency: 1, requests: 1_000, milliseconds: 1), Row(concurrency: 10, requests: 7_000, milliseconds: 3),
        Row(concurrency: 100, requests: 12_000, milliseconds: 10),
    ]) func limitIsKept(row: Row) throws {
        for attempt in 0..<3 {
            var windows: [PodStat]?
            try ContractPod.running(["CONTAINER_CONCURRENCY": "\(row.concurrency)"]) { pod throws in
                let reader = try StatReader(pod)
                let run = try Run(
                    pod, requests: row.requests, clients: 4 * row.concurrency, path: "/slow?ms=\(row.milliseconds)",
                    fields: ["k-proxy-request: activator"])
                #expect(run.ok == row.requests && run.succeeded == row.requests, "\(run.text)")
                let counts = try pod.counts()
                #expect(counts["max_in_flight"] == row.concurrency, "\(counts)")
                #expect(counts["requests"] == row.requests + 1 && counts["in_flight"] == 1, "\(counts)")
                // No slot is lost: as many as before can be in at once.
                let clients = try (0..<row.concurrency).map { _ in try pod.connect() }
                for client in clients { try client.request(ContractPod.host, "/slow?ms=300") }
                let (seconds, _) = try timed { for client in clients { _ = try client.readAnswer() } }
                #expect(seconds < 0.3 * Double(row.concurrency) || row.concurrency == 1, "\(seconds) s")
                #expect(reader.waitForRest())
                windows = try reader.stop()
            }
            guard let windows else { continue }
            let sent = Double(row.requests + row.concurrency)
            #expect(windows.map(\.count).reduce(0, +) == sent, "\(windows)")
            #expect(windows.map(\.countProxied).reduce(0, +) == Double(row.requests), "\(windows)")
            #expect(windows.last?.average == 0, "something is left: \(windows)")
            return
        }
        Issue.record("a second was missed in each of three runs")
    }

    /// More clients than may wait: some are refused with 503, every one is answered, and the limit is kept. None goes
    /// away early, since a container counts a request until it sees that its client has gone.
    @Test func overload() throws {
        try ContractPod.running(["CONTAINER_CONCURRENCY": "1"]) { pod throws in
            let run = try Run(pod, requests: 4_000, clients: 40, path: "/slow?ms=1")
            #expect(run.done == 4_000 && run.ok + run.refused == 4_000, "\(run.text)")
            #expect(run.ok >= 11, "11 have a place at once: \(run.text)")
            #expect(run.refused > 0, "40 clients fit into 11 places: \(run.text)")
            #expect(try pod.counts()["max_in_flight"] == 1)
            #expect(try pod.get("/bytes/1").status == 200)
        }
    }

    /// TestSingleConcurrency: five clients, the container answers 500 when two of them meet in it.
    @Test func singleConcurrency() throws {
        try ContractPod.running(["CONTAINER_CONCURRENCY": "1"]) { pod throws in
            let run = try Run(pod, requests: 200, clients: 5, path: "/overlap?ms=5")
            #expect(run.ok == 200, "\(run.text)")
            #expect(try pod.counts()["overlaps"] == 0)
        }
    }

    /// Clients that go away at any moment, among others: no slot is lost, nothing stays behind.
    @Test func goneUnderLoad() throws {
        try ContractPod.running(["CONTAINER_CONCURRENCY": "3"]) { pod throws in
            let reader = try StatReader(pod)
            let port = try pod.port()
            concurrently(Array(0..<6), name: { "client \($0)" }) { seed in
                var random = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
                for _ in 0..<60 {
                    random ^= random << 13
                    random ^= random >> 7
                    random ^= random << 17
                    let client = try Client(port: port)
                    try client.request(ContractPod.host, "/slow?ms=\(random % 15)")
                    if random % 3 == 0 {
                        poll(nil, 0, Int32(random >> 8 & 7))
                        if random % 2 == 0 { client.abort() }
                    } else {
                        try demandEqual(try client.readAnswer().status, 200)
                    }
                }
            }
            #expect(reader.waitForRest(), "something stays in flight: \(reader.soFar)")
            let (seconds, _) = try timed {
                let clients = try (0..<3).map { _ in try pod.connect() }
                for client in clients { try client.request(ContractPod.host, "/slow?ms=400") }
                for client in clients { #expect(try client.readAnswer().status == 200) }
            }
            #expect(seconds < 0.8, "a slot is lost: \(seconds) s")
            #expect(try pod.counts()["max_in_flight"] ?? 9 <= 3)
            _ = try reader.stop()
        }
    }
}
