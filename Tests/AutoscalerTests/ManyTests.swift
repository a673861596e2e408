import EventLoop
import Knative
import Logging
import Primitives
import Scaling
import Simulation
import Testing

@testable import Autoscaler

/// Many revisions in one autoscaler.
@Suite struct ManyTests {
    /// Pods that always answer, and count when.
    private final class Pods: PodReader, ActivatorPathProbe {
        var reads: [Double] = []
        let clock: EventClock
        init(_ clock: EventClock) { self.clock = clock }

        func read(_ question: ScrapeQuestion, _ report: @escaping (Result<ScrapeAnswer, ScrapeFailure>) -> Void) {
            reads.append(clock.seconds)
            report(.success(ScrapeAnswer(stat: RequestStat(averageConcurrency: 10, requestCount: 10))))
        }

        func ask(_ revision: ObjectName, at addresses: [SocketAddress], _ report: @escaping (Bool) -> Void) {
            report(true)
        }
    }

    private func name(_ index: Int) -> ObjectName { ObjectName(namespace: "ns", name: "rev-\(index)") }

    private func engine(_ count: Int, limit: Int = 20_000) -> (AutoscalerEngine, EventClock, Pods, MemorySource) {
        let clock = EventClock()
        let source = MemorySource()
        let pods = Pods(clock)
        var options = AutoscalerOptions()
        options.revisionLimit = limit
        let engine = AutoscalerEngine(
            options: options, source: source, clock: clock, pods: pods, activators: pods,
            logger: Logger(label: "test") { _ in SilentLog() })
        engine.start()
        for index in 0..<count {
            source.tell(.applied(.podAutoscaler(PodAutoscaler(name: name(index)))))
            var pod = ClusterPod(name: ObjectName(namespace: "ns", name: "pod-\(index)"), revision: "rev-\(index)")
            pod.ip = UInt32(index)
            pod.isReady = true
            source.tell(.applied(.pod(pod)))
        }
        source.tell(.synced)
        return (engine, clock, pods, source)
    }

    @Test func theWorkIsSpread() {
        let (engine, clock, pods, _) = engine(400)
        clock.advance(to: 5)
        #expect(engine.revisionCount == 400)
        pods.reads = []
        clock.advance(to: 6)
        #expect(pods.reads.count == 400)
        // In no twentieth of a second more than thrice the even share.
        var slots = [Int](repeating: 0, count: 20)
        for read in pods.reads { slots[min(19, Int((read - 5) * 20))] += 1 }
        #expect((slots.max() ?? 0) <= 60 && (slots.min() ?? 0) > 0, "\(slots)")
    }

    @Test func thereIsALimit() {
        let (engine, clock, _, source) = engine(30, limit: 20)
        #expect(engine.revisionCount == 20)
        clock.advance(to: 3)
        source.tell(.removed(.podAutoscaler, name(0)))
        source.tell(.applied(.podAutoscaler(PodAutoscaler(name: name(29)))))
        #expect(engine.revisionCount == 20 && engine.revisions[name(29)] != nil)
    }

    /// What a second of a thousand revisions costs. Printed, not judged: machines differ.
    @Test func costOfASecond() {
        let (engine, clock, _, source) = engine(1_000)
        clock.wallOffset = 0
        for second in 1...5 { clock.advance(to: Double(second)) }
        let stats = (0..<1_000).map { (name($0), RequestStat(averageConcurrency: 10, requestCount: 10), Int64(0)) }
        let message = World.message(stats)
        let writes = source.written.count
        var pushed = UInt64.max, ticks: UInt64 = 0
        for _ in 0..<5 {
            let begin = MonotonicClock.now()
            message.withUnsafeBytes { engine.receive(ByteView($0)) }
            pushed = min(pushed, MonotonicClock.now().nanoseconds(since: begin))
        }
        print("1,000 stats in one message of \(message.count) bytes: \(pushed / 1_000) µs")
        #expect(engine.statCounts.taken == 5_000)
        for (_, revision) in engine.revisions {
            let begin = MonotonicClock.now()
            engine.decide(revision, .tick)
            ticks += MonotonicClock.now().nanoseconds(since: begin)
        }
        print("1,000 ticks: \(ticks / 1_000) µs; written meanwhile: \(source.written.count - writes)")
        let begin = MonotonicClock.now()
        for (_, revision) in engine.revisions { engine.beginRound(revision) }
        print("1,000 rounds of one pod: \(MonotonicClock.now().nanoseconds(since: begin) / 1_000) µs")
        let page = engine.metricsPage(connections: 1)
        #expect(page.count > 100_000)
    }
}
