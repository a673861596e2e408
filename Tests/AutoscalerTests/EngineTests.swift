import Knative
import Primitives
import Scaling
import Testing

@testable import Autoscaler

/// The autoscaler among neighbours that a test plays, in virtual time.
@Suite struct EngineTests {
    private func core(_ world: World) -> RevisionAutoscaler? { world.engine?.revisions[World.name]?.core }

    @Test func aNewRevisionStartsAndIsActive() throws {
        let world = World()
        world.start()
        #expect(world.history.map(\.replicas) == [1], "its first pod waits for nothing")
        #expect(world.history[0].seconds == 0)
        #expect(world.source.statuses.last?.active == "Unknown" && world.source.statuses.last?.reason == "Queued")
        world.run(to: 5)
        let status = try #require(world.source.statuses.last)
        #expect(status.active == "True" && status.isInitialized && status.actualScale == 1 && status.reason == "")
        #expect(world.history.map(\.replicas) == [1])
        // ceil((0 * 100 + 211) / 100), then with one ready pod ceil(311 / 100).
        #expect(world.modes.map(\.activators) == [3, 4] && world.modes.allSatisfy(\.isProxy))
    }

    @Test func anIdleRevisionGoesToZeroAndRests() throws {
        let world = World()
        world.start()
        world.run(to: 90)
        #expect(world.history.map(\.replicas) == [1, 0])
        let zero = world.history[1].seconds
        // Ready at 1 s, active for a window; the activator is in the path all along, so no grace period.
        #expect(zero > 61 && zero < 67, "\(zero)")
        #expect(!world.probes.isEmpty && world.probes.allSatisfy { $0 > zero - 3.1 && $0 <= zero }, "\(world.probes)")
        #expect(world.source.statuses.last?.active == "False" && world.source.statuses.last?.reason == "NoTraffic")
        #expect(world.source.statuses.last?.desiredScale == 0 && world.source.statuses.last?.actualScale == 0)
        // At rest: no timer, no question.
        let reads = world.reads
        #expect(world.engine?.awakeCount == 0 && world.clock.pending == 0, "\(world.clock.pending)")
        world.run(to: 200)
        #expect(world.reads == reads)
    }

    @Test func thePokeStartsAPodWithinTheCall() {
        let world = World()
        world.start()
        world.run(to: 100)
        let before = world.history.count
        world.push(RequestStat(averageConcurrency: 1, requestCount: 1))
        #expect(world.history.dropFirst(before).map(\.replicas) == [1])
        #expect(world.history.last?.seconds == world.clock.seconds)
        // The next stats of the same event are no further decisions.
        world.push(RequestStat(averageConcurrency: 1, requestCount: 1))
        #expect(world.history.count == before + 1)
        #expect(world.engine?.awakeCount == 1)
    }

    @Test func aStatThatStartsNothingIsNoFloodOfTicks() {
        let world = World(["metric": "rps"])
        world.start()
        world.run(to: 100)
        for _ in 0..<1_000 { world.push(RequestStat(averageConcurrency: 1)) }
        #expect(world.history.map(\.replicas) == [1, 0], "in flight, but no request begins: the metric rps says zero")
        #expect(world.engine?.statCounts.taken == 1_000)
    }

    @Test func withoutTheActivatorInThePathTheLastPodStays() {
        let world = World()
        world.activatorAnswers = false
        world.start()
        world.run(to: 200)
        #expect(world.history.map(\.replicas) == [1])
        let gaps = zip(world.probes, world.probes.dropFirst()).map { $1 - $0 }
        #expect(world.probes.count > 120 && gaps.allSatisfy { $0 > 0.99 && $0 < 1.1 }, "asked once a second")
        world.activatorAnswers = true
        world.run(to: 203)
        #expect(world.history.map(\.replicas) == [1, 0])
    }

    @Test func aServedRevisionWaitsOutTheGracePeriod() throws {
        let world = World(["target-burst-capacity": "0"])
        world.start()
        world.run(to: 10)
        #expect(world.modes.last?.isProxy == false, "burst capacity 0: straight to the pod")
        world.run(to: 120)
        let proxy = try #require(world.modes.last)
        #expect(proxy.isProxy && proxy.activators == 2)
        #expect(world.history.map(\.replicas) == [1, 0])
        let grace = world.history[1].seconds - proxy.seconds
        // The time since when it is proxied comes in whole seconds.
        #expect(grace > 28.9 && grace < 31.1, "\(grace)")
        #expect(world.probes.count <= 3, "asked when it matters, not all through the grace period: \(world.probes)")
    }

    @Test func trafficInTheGracePeriodKeepsThePod() {
        let world = World(["target-burst-capacity": "0"])
        world.load = { $0 > 75 && $0 < 300 ? 10 : 0 }
        world.start()
        world.run(to: 290)
        #expect(world.history.map(\.replicas) == [1])
        #expect(world.modes.map(\.isProxy).suffix(2) == [true, false], "\(world.modes)")
        world.run(to: 420)
        #expect(world.history.map(\.replicas) == [1, 0])
    }

    @Test func aBurstPanicsAndSettles() throws {
        let world = World()
        world.start()
        world.run(to: 100)
        world.load = { _ in 300 }
        world.run(to: 101)
        #expect(world.history.last?.replicas == 1, "the poke sees the first request")
        world.run(to: 106)
        // ceil(300 / 70) within one tick of the first whole second.
        #expect(world.history.last?.replicas == 5)
        #expect(world.history.last?.why.contains("in panic") == true, "\(world.history)")
        world.run(to: 250)
        #expect(world.history.last?.replicas == 5)
        #expect(core(world)?.record?.panicSince == nil)
        let averages = try #require(core(world)?.record?.averages)
        #expect(
            abs(averages.stable - 300) < 1 && abs(averages.panic - 300) < 1, "each request counts once: \(averages)")
        world.load = { _ in 20 }
        world.run(to: 400)
        #expect(world.history.last?.replicas == 1)
        let down = world.history.drop { $0.seconds < 250 }
        #expect(down.map(\.replicas) == down.map(\.replicas).sorted(by: >), "\(world.history)")
        #expect(down.first.map { $0.seconds > 253 } == true)
    }

    /// Requests counted once whether they pass activators or not, while the mode goes to and fro.
    @Test func excessBurstCapacitySwitchesTheMode() {
        let world = World(["min-scale": "3"])
        world.load = { $0 < 100 ? 50 : $0 < 200 ? 120 : 50 }
        world.start()
        world.run(to: 95)
        // 3 * 100 - 211 - 50 = 39: to spare.
        #expect(world.modes.last?.isProxy == false)
        world.run(to: 195)
        // 3 * 100 - 211 - 120 = -31.
        #expect(world.modes.last?.isProxy == true)
        world.run(to: 295)
        #expect(world.modes.last?.isProxy == false)
        #expect(world.history.map(\.replicas) == [3])
        #expect(world.source.services.count <= 8, "written only when it changes: \(world.modes)")
    }

    @Test func burstCapacityMinusOneIsNeverScraped() {
        let world = World(["target-burst-capacity": "-1"])
        world.load = { $0 < 30 ? 10 : 0 }
        world.start()
        world.run(to: 150)
        #expect(world.reads == 0 && world.probes.isEmpty)
        #expect(world.modes.allSatisfy { $0.isProxy })
        #expect(world.history.map(\.replicas) == [1, 0], "silence means zero")
        #expect(world.history.last.map { $0.seconds > 88 && $0.seconds < 125 } == true, "\(world.history)")
    }

    @Test func podsThatDoNotAnswerChangeNothing() {
        let world = World()
        world.podsAnswer = false
        world.start()
        world.run(to: 300)
        #expect(world.history.map(\.replicas) == [1])
        #expect(world.engine?.scrapes.complete == 0 && world.engine?.scrapes.failed ?? 0 > 280)
    }

    // MARK: Objects that change

    @Test func changedAnnotationsRuleAtOnce() {
        let world = World()
        world.start()
        world.run(to: 10)
        world.object.annotations[ScalingAnnotations.keyPrefix + "min-scale"] = "3"
        world.source.tell(.applied(.podAutoscaler(world.object)))
        #expect(world.history.map(\.replicas) == [1, 3])
        world.object.annotations[ScalingAnnotations.keyPrefix + "min-scale"] = nil
        world.object.annotations[ScalingAnnotations.keyPrefix + "window"] = "10s"
        world.source.tell(.applied(.podAutoscaler(world.object)))
        world.run(to: 45)
        #expect(world.history.last?.replicas == 0, "\(world.history)")
    }

    @Test func anUnreachableRevisionHasNoFloor() {
        let world = World(["min-scale": "2"])
        world.start()
        world.run(to: 30)
        #expect(world.history.map(\.replicas) == [2])
        world.object.isReachable = false
        world.source.tell(.applied(.podAutoscaler(world.object)))
        world.run(to: 100)
        #expect(world.history.last?.replicas == 0)
        // The status that the source repeats is ours: it takes nothing back.
        #expect(world.source.statuses.last?.active == "False")
    }

    @Test func aDeletedRevisionLeavesNothing() {
        let world = World()
        world.load = { _ in 100 }
        world.start()
        world.run(to: 10)
        let writes = world.source.written.count
        world.source.tell(.removed(.podAutoscaler, World.name))
        #expect(world.engine?.revisionCount == 0)
        world.load = { _ in 0 }
        world.run(to: 20)
        #expect(world.source.written.count == writes && world.clock.pending == 0)
        let unknown = world.engine?.statCounts.unknown ?? 0
        world.push(RequestStat(averageConcurrency: 1))
        #expect(world.engine?.statCounts.unknown == unknown + 1)
    }

    @Test func anotherClassIsLeftAlone() {
        let world = World(["class": "hpa.autoscaling.knative.dev"])
        world.start()
        world.run(to: 5)
        #expect(world.engine?.revisionCount == 0 && world.source.written.isEmpty)
        world.object.annotations = [:]
        world.source.tell(.applied(.podAutoscaler(world.object)))
        #expect(world.engine?.revisionCount == 1)
        world.object.annotations = [ScalingAnnotations.keyPrefix + "class": "hpa.autoscaling.knative.dev"]
        world.source.tell(.applied(.podAutoscaler(world.object)))
        #expect(world.engine?.revisionCount == 0)
    }

    @Test func nothingIsDecidedBeforeAllIsKnown() {
        let world = World()
        world.start(tells: false)
        world.source.tell(.applied(.podAutoscaler(world.object)))
        world.run(to: 20)
        #expect(world.source.written.isEmpty && world.engine?.isSynced == false)
        world.source.tell(.synced)
        #expect(world.history.map(\.replicas) == [1] && world.engine?.isSynced == true)
        world.source.tell(.synced)
        #expect(world.history.map(\.replicas) == [1])
    }

    @Test func statusesAreWrittenAtMostOnceASecond() {
        let world = World()
        var times: [Double] = []
        let former = world.source.onWrite
        world.source.onWrite = { object in
            if case .podAutoscaler = object { times.append(world.clock.seconds) }
            former(object)
        }
        world.startSeconds = 0.1
        world.load = { $0 < 30 ? Double(Int($0 * 3) % 7) * 100 : 0 }
        world.start()
        world.run(to: 200)
        #expect(times.count > 5)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 >= 1 }, "\(times)")
        #expect(world.source.statuses.last?.desiredScale == 0, "the last one is not lost")
        world.source.onWrite = { _ in }
    }

    @Test func lateAndReorderedStats() throws {
        let world = World()
        world.podsAnswer = false
        world.start()
        world.run(to: 20)
        let now = world.clock.unixSeconds
        // Ten seconds, told from the newest to the oldest; then one that has left the window.
        for age in 0..<10 { world.push(RequestStat(averageConcurrency: 40), timestamp: now - Int64(age)) }
        world.push(RequestStat(averageConcurrency: 1e6), timestamp: now - 61)
        #expect(world.engine?.statCounts.late == 1 && world.engine?.statCounts.taken == 10)
        world.run(to: 22.5)
        let averages = try #require(core(world)?.record?.averages)
        #expect(abs(averages.stable - 40) < 1e-6, "\(averages)")
        #expect(world.history.map(\.replicas) == [1])
    }
}
