import Foundation
import Testing

/// Who may enter, who waits and who is refused (spec/dataplane 1.6; easy mistakes 7 and 9).
@Suite struct ContractAdmissionTests {
    static let refusal = "pending request queue full\n"

    /// A pod whose container the test plays, and clients that wait in the order of their numbers.
    private static func running(
        _ concurrency: Int, _ body: (ContractPod, PlayedContainer) throws -> Void
    ) throws {
        let container = try PlayedContainer()
        try ContractPod.running(["CONTAINER_CONCURRENCY": "\(concurrency)"], .played(container)) { pod throws in
            try body(pod, container)
        }
    }

    /// A connection that the sidecar has surely accepted: it has answered a probe on it.
    private static func accepted(_ pod: ContractPod) throws -> Client {
        let client = try pod.connect()
        try client.request(ContractPod.host, fields: ["K-Network-Probe: probe", "K-Network-Hash: h"])
        guard try client.readAnswer().status == 200 else { throw Failure("no answer to a probe") }
        return client
    }

    /// Sends one request on each of `count` connections, in order.
    private static func fill(
        _ pod: ContractPod, _ count: Int, from first: Int = 0, fields: [String] = []
    ) throws -> [Client] {
        let clients = try (0..<count).map { _ in try accepted(pod) }
        for (number, client) in clients.enumerated() {
            try client.request(ContractPod.host, "/\(first + number)", fields: fields)
        }
        return clients
    }

    private static func expectRefused(_ answer: Answer, _ location: SourceLocation = #_sourceLocation) {
        #expect(answer.status == 503, sourceLocation: location)
        #expect(answer.text == refusal, sourceLocation: location)
        #expect(answer["Content-Type"] == "text/plain; charset=utf-8", sourceLocation: location)
        #expect(answer["X-Content-Type-Options"] == "nosniff", sourceLocation: location)
        #expect(answer["Content-Length"] == "\(refusal.utf8.count)", sourceLocation: location)
    }

    /// 1.6: cc are served, 10 x cc wait in their order, the next is refused with Knative's text; a refused one's
    /// connection goes on.
    @Test(arguments: [1, 10]) func elevenTimesTheLimit(concurrency: Int) throws {
        try Self.running(concurrency) { pod, container throws in
            let clients = try Self.fill(pod, 11 * concurrency)
            var inside = try (0..<concurrency).map { _ in try container.next() }
            let late = try Self.accepted(pod)
            try late.request(ContractPod.host, "/late")
            Self.expectRefused(try late.readAnswer())
            #expect(container.untaken == 0, "the container got more than \(concurrency)")
            // First in, first out, one by one.
            for number in 0..<11 * concurrency {
                guard let index = inside.firstIndex(where: { $0.path == "/\(number)" }) else {
                    Issue.record("/\(number) is not in the container but \(inside.map(\.path))")
                    return
                }
                try inside.remove(at: index).answer(200, "\(number)")
                #expect(try clients[number].readAnswer().text == "\(number)")
                if number + concurrency < 11 * concurrency { inside.append(try container.next()) }
                #expect(container.untaken == 0)
            }
            try late.request(ContractPod.host, "/again")
            try container.next().answer(200, "again")
            #expect(try late.readAnswer().text == "again")
        }
    }

    /// 1.6: a client that goes while it waits leaves its place to another, and its request is never sent.
    @Test(arguments: [true, false]) func goneWhileWaiting(reset: Bool) throws {
        try Self.running(1) { pod, container throws in
            var clients = try Self.fill(pod, 11)
            let first = try container.next()
            if reset { clients[5].abort() }
            clients.remove(at: 5)  // which closes it
            let late = try Self.accepted(pod)
            // The place is free as soon as the sidecar has seen the end.
            let isIn = try wait {
                try late.request(ContractPod.host, "/late")
                if late.isSilent(milliseconds: 200) { return true }
                Self.expectRefused(try late.readAnswer())
                return false
            }
            #expect(isIn, "the place was not freed")
            try first.answer()
            let others = try (0..<10).map { _ in
                let next = try container.next()
                try next.answer()
                return next.path
            }
            #expect(others == [1, 2, 3, 4, 6, 7, 8, 9, 10].map { "/\($0)" } + ["/late"])
        }
    }

    /// 1.6: a client that goes while it is served frees the slot, and the container hears of it.
    @Test func goneWhileServed() throws {
        try Self.running(1) { pod, container throws in
            var clients = try Self.fill(pod, 2)
            let first = try container.next()
            clients.removeFirst().abort()
            #expect(try first.peer.receive().isEmpty, "the container's connection is closed")
            first.drop()
            let second = try container.next()
            #expect(second.path == "/1")
            try second.answer(200, "second")
            #expect(try clients[0].readAnswer().text == "second")
        }
    }

    /// 1.6: streams of one HTTP/2 connection are requests like others; RST_STREAM frees a place.
    @Test func streams() throws {
        try ContractPod.running(["CONTAINER_CONCURRENCY": "1"], .reporter) { pod throws in
            let wire = try Wire(pod.scratch)
            var many = Wire.Request("/wait?ms=40")
            many.more = 14
            let reply = try wire.perform(many, .h2c, pod)
            let statuses = (reply.statuses ?? []).compactMap(\.self)
            #expect(statuses.count { $0 == 200 } == 11 && statuses.count { $0 == 503 } == 4, "\(reply)")
            var cancelled = Wire.Request("/wait?ms=60000")
            cancelled.cancelMilliseconds = 100
            _ = try wire.perform(cancelled, .h2c, pod)
            #expect(try wire.perform(Wire.Request("/wait?ms=1"), .h2c, pod).status == 200, "the slot was lost")
            #expect(try wait { try pod.counts()["cancelled"] == 1 })
            #expect(try pod.counts()["max_in_flight"] == 1)
        }
    }

    /// 1.6: containerConcurrency 0 has no limit and no queue.
    @Test func unlimited() throws {
        try ContractPod.running { pod throws in
            let clients = try (0..<300).map { _ in try pod.connect() }
            for client in clients { try client.request(ContractPod.host, "/slow?ms=1500") }
            for client in clients { #expect(try client.readAnswer().status == 200) }
            #expect(try pod.counts()["max_in_flight"] == 300)
        }
    }

    /// 1.5: a client that calls itself a probe by the deprecated header waits like any other.
    @Test func kubeletHeaderIsNoWayAround() throws {
        try Self.running(1) { pod, container throws in
            let clients = try Self.fill(pod, 11, fields: ["K-Kubelet-Probe: x"])
            let first = try container.next()
            #expect(container.isLeftAlone(0.2), "two requests at a time")
            let late = try Self.accepted(pod)
            try late.request(ContractPod.host, "/late", fields: ["K-Kubelet-Probe: x"])
            Self.expectRefused(try late.readAnswer())
            try first.answer(200, "first")
            #expect(try clients[0].readAnswer().text == "first")
            for _ in 1..<11 { try container.next().answer() }
        }
    }

    /// 1.5: probes are answered while every place is taken.
    @Test func probesPassTheQueue() throws {
        try Self.running(1) { pod, container throws in
            let clients = try Self.fill(pod, 11)
            _ = try container.next()
            #expect(try pod.probe().text == "queue")
            #expect(try pod.get("/metrics", at: .stat).status == 200)
            _ = clients.count
        }
    }
}
