import Admission
import HTTP
import HTTP1
import Primitives
import Testing

@testable import DataPlane

/// The rules of an exchange, without a connection.
@Suite struct ExchangeTests {
    static let start = Instant(nanoseconds: 1_000_000_000)

    private func makeExchange(
        _ request: String = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", timeouts: RevisionTimeouts = RevisionTimeouts()
    ) throws -> Exchange {
        let gate = RevisionGate(concurrency: 0, budget: WaitBudget())
        let target = RevisionTarget(
            id: 1, name: "r", namespace: "n", gate: gate, timeouts: timeouts, workerCount: 1, now: Self.start)
        var head = RequestHead(limits: HTTPLimits())
        var scanned = 0
        let bytes = Array(request.utf8)
        let token = SlabToken(index: 0, generation: 1)
        let traits = try bytes.withUnsafeBytes { bytes in
            let isWhole = try head.parse(ByteView(bytes), scanned: &scanned)
            #expect(isWhole)
            return RequestTraits(head)
        }
        return Exchange(
            token: token, downstream: token, target: target, request: traits, limits: HTTPLimits(), now: Self.start)
    }

    /// Limits in seconds after the arrival (total, response start, idle), what has come at which second, and the
    /// deadline.
    @Test(
        arguments: [
            (limits: (300, 0, 0), interim: nil, first: nil, last: nil, deadline: 300),
            (limits: (300, 10, 0), interim: nil, first: nil, last: nil, deadline: 10),
            (limits: (300, 0, 20), interim: nil, first: nil, last: nil, deadline: 20),
            (limits: (5, 10, 20), interim: nil, first: nil, last: nil, deadline: 5),
            (limits: (300, 10, 0), interim: nil, first: 9, last: 9, deadline: 300),
            (limits: (300, 10, 20), interim: nil, first: 9, last: 9, deadline: 29),
            (limits: (300, 10, 20), interim: nil, first: 9, last: 100, deadline: 120),
            (limits: (300, 10, 20), interim: nil, first: 9, last: 290, deadline: 300),
            (limits: (300, 10, 20), interim: 8, first: nil, last: 8, deadline: 28),
            (limits: (0, 0, 0), interim: nil, first: nil, last: nil, deadline: nil),
        ] as [(limits: (UInt64, UInt64, UInt64), interim: UInt64?, first: UInt64?, last: UInt64?, deadline: UInt64?)])
    func deadline(
        limits: (UInt64, UInt64, UInt64), interim: UInt64?, first: UInt64?, last: UInt64?, deadline: UInt64?
    ) throws {
        func second(_ count: UInt64) -> Instant { Self.start.adding(milliseconds: count * 1_000) }
        var timeouts = RevisionTimeouts()
        timeouts.total = limits.0 * 1_000_000_000
        timeouts.responseStart = limits.1 * 1_000_000_000
        timeouts.idle = limits.2 * 1_000_000_000
        var exchange = try makeExchange(timeouts: timeouts)
        if interim != nil { exchange.interimResponses = 1 }
        if let first { exchange.firstByteAt = second(first) }
        if let last { exchange.lastResponseProgress = second(last) }
        let expected = deadline.map(second) ?? .distantFuture
        #expect(exchange.deadline == expected)
    }

    @Test(arguments: [
        ("GET", true), ("HEAD", true), ("PUT", true), ("DELETE", true), ("OPTIONS", true), ("TRACE", true),
        ("POST", false), ("PATCH", false), ("BREW", false),
    ]) func mayRetry(method: String, isIdempotent: Bool) throws {
        let request = "\(method) / HTTP/1.1\r\nHost: a\r\n\r\n"
        let exchange = try makeExchange(request)
        let (whenTaken, whenNot) = (exchange.mayRetry(nothingAccepted: false), exchange.mayRetry(nothingAccepted: true))
        #expect(whenTaken == isIdempotent && whenNot)
        let spoilers: [(inout Exchange) -> Void] = [
            { $0.hasRetried = true }, { $0.isReplayable = false }, { $0.responseHasStarted = true },
            { $0.interimResponses = 1 },
        ]
        for spoil in spoilers {
            var spoilt = try makeExchange(request)
            spoil(&spoilt)
            let may = spoilt.mayRetry(nothingAccepted: true)
            #expect(!may)
        }
    }

    @Test(arguments: [
        ("", true), ("Content-Length: 0\r\n", true), ("Content-Length: 1\r\n", false),
        ("Transfer-Encoding: chunked\r\n", false),
    ]) func requestIsComplete(fields: String, isComplete: Bool) throws {
        let exchange = try makeExchange("POST / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n")
        let found = exchange.requestIsComplete
        #expect(found == isComplete)
    }
}
