import Primitives
import Testing

@testable import Balancing

/// Endpoints numbered from 0, on neighbouring ports.
func makeEndpoints(_ count: Int, concurrency: Int, from first: Int = 0) -> [Endpoint] {
    (first..<first + count).map {
        Endpoint(id: $0, address: .loopback(port: UInt16(8_000 + $0)), concurrency: concurrency)
    }
}

@Suite struct EndpointTests {
    @Test(arguments: [1, 2, 7]) func neverOverTheLimit(concurrency: Int) {
        let endpoint = makeEndpoints(1, concurrency: concurrency)[0]
        for taken in 1...concurrency {
            #expect(endpoint.tryReserve())
            #expect(endpoint.inFlight == taken)
        }
        #expect(!endpoint.tryReserve())
        #expect(endpoint.unreserve() == concurrency - 1)
        #expect(endpoint.tryReserve() && !endpoint.tryReserve())
    }

    @Test func zeroIsUnlimited() {
        let endpoint = makeEndpoints(1, concurrency: 0)[0]
        for _ in 0..<10_000 { #expect(endpoint.tryReserve()) }
        #expect(endpoint.inFlight == 10_000)
    }

    @Test func onlyAvailableOnesReserve() {
        let endpoint = makeEndpoints(1, concurrency: 5)[0]
        #expect(endpoint.state == .available && endpoint.tryReserve())
        for state in [Endpoint.State.suspended, .retired] {
            #expect(endpoint.enter(state) == 1)
            #expect(endpoint.state == state && !endpoint.tryReserve() && endpoint.inFlight == 1)
        }
        #expect(endpoint.unreserve() == 0 && endpoint.state == .retired)
        #expect(endpoint.enter(.available) == 0)
        #expect(endpoint.tryReserve())
    }

    @Test(arguments: [(-3, 0), (0, 0), (1, 1), (Int.max, Int(UInt32.max) - 1)])
    func strangeConcurrency(given: Int, kept: Int) {
        let endpoint = makeEndpoints(1, concurrency: given)[0]
        #expect(endpoint.concurrency == kept && endpoint.tryReserve())
    }

    @Test func addressText() {
        #expect("\(EndpointAddress(ipv4: 0x0A01_02FF, port: 8012))" == "10.1.2.255:8012")
        #expect("\(EndpointAddress.loopback(port: 1))" == "127.0.0.1:1")
    }
}

@Suite struct PickPolicyTests {
    @Test(arguments: [
        (-1, PickPolicy.leastOfTwo), (0, .leastOfTwo), (1, .firstAvailable), (3, .firstAvailable), (4, .roundRobin),
        (1_000, .roundRobin),
    ])
    func byConcurrency(concurrency: Int, policy: PickPolicy) {
        #expect(PickPolicy(concurrency: concurrency) == policy)
    }

    @Test(arguments: [PickPolicy.leastOfTwo, .firstAvailable, .roundRobin])
    func nothingToPick(policy: PickPolicy) {
        var cursor = 0
        #expect(policy.reserve(from: [], cursor: &cursor, random: 7) == nil)
        let endpoints = makeEndpoints(3, concurrency: 1)
        for endpoint in endpoints { endpoint.enter(.suspended) }
        #expect(policy.reserve(from: endpoints, cursor: &cursor, random: 7) == nil)
        #expect(endpoints.allSatisfy { $0.inFlight == 0 })
        endpoints[1].enter(.available)
        for random in [0, 1, UInt64.max, 1 << 32, 0xFFFF_FFFF] {
            #expect(policy.reserve(from: endpoints, cursor: &cursor, random: random)?.id == 1)
            endpoints[1].unreserve()
        }
    }

    @Test func firstAvailablePacks() {
        let endpoints = makeEndpoints(3, concurrency: 2)
        var cursor = 0
        let order = (0..<7).map { _ in
            PickPolicy.firstAvailable.reserve(from: endpoints, cursor: &cursor, random: 0)?.id
        }
        #expect(order == [0, 0, 1, 1, 2, 2, nil])
        endpoints[1].unreserve()
        #expect(PickPolicy.firstAvailable.reserve(from: endpoints, cursor: &cursor, random: 0)?.id == 1)
    }

    @Test func roundRobinSkipsFullOnes() {
        let endpoints = makeEndpoints(4, concurrency: 4)
        for _ in 0..<4 { #expect(endpoints[2].tryReserve()) }
        var cursor = 0
        let order = (0..<13).map { _ in PickPolicy.roundRobin.reserve(from: endpoints, cursor: &cursor, random: 0)?.id }
        #expect(order == [0, 1, 3, 0, 1, 3, 0, 1, 3, 0, 1, 3, nil])
        endpoints[0].unreserve()
        for strange in [-5, 4, 99, Int.max] {
            cursor = strange
            #expect(PickPolicy.roundRobin.reserve(from: endpoints, cursor: &cursor, random: 0)?.id == 0)
            endpoints[0].unreserve()
        }
    }

    /// Two random choices keep 10,000 requests on 50 endpoints closer together than one choice would (about 45 above).
    @Test func leastOfTwoIsEven() {
        for seed in UInt64(0)..<8 {
            var random = SeededRandom(seed: seed)
            let endpoints = makeEndpoints(50, concurrency: 0)
            var cursor = 0
            for _ in 0..<10_000 {
                #expect(PickPolicy.leastOfTwo.reserve(from: endpoints, cursor: &cursor, random: random.next()) != nil)
            }
            let counts = endpoints.map(\.inFlight)
            #expect(counts.reduce(0, +) == 10_000)
            #expect((counts.max() ?? 0) <= 205 && (counts.min() ?? 0) >= 190, "seed \(seed): \(counts)")
        }
    }

    /// Both places are drawn evenly and are never the same: with two endpoints the emptier one always wins.
    @Test func leastOfTwoTakesTheEmptier() {
        var random = SeededRandom(seed: 3)
        let endpoints = makeEndpoints(2, concurrency: 0)
        var cursor = 0
        #expect(endpoints[1].tryReserve())
        for _ in 0..<100 {
            #expect(PickPolicy.leastOfTwo.reserve(from: endpoints, cursor: &cursor, random: random.next())?.id == 0)
            endpoints[0].unreserve()
        }
        endpoints[1].unreserve()
        var firsts = 0
        for _ in 0..<1_000 {
            let picked = PickPolicy.leastOfTwo.reserve(from: endpoints, cursor: &cursor, random: random.next())
            firsts += picked?.id == 0 ? 1 : 0
            picked?.unreserve()
        }
        #expect((400...600).contains(firsts), "ties fall evenly: \(firsts)")
    }
}
